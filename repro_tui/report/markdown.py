"""report.md: the report for people, GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from repro_tui.events import CheckStatus, Verdict
from repro_tui.report import series, stages
from repro_tui.report.model import Check, Metric, Number, Report, TableReported

_WORD = {
    CheckStatus.MATCH: "match",
    CheckStatus.WITHIN_TOLERANCE: "within tolerance",
    CheckStatus.DIFFERS: "**differs**",
    CheckStatus.UNVERIFIABLE: "**unverifiable**",
    CheckStatus.NOT_RUN: "not run",
}
MEANING = {
    Verdict.REPRODUCED: "every pin held, and every required result came out again",
    Verdict.METRICS_DIFFER: "every pin held, and a result came out otherwise",
    Verdict.ENVIRONMENT_DRIFT: "something pinned is not what it was",
    Verdict.INCONCLUSIVE: "something that is required could not be verified",
    Verdict.FAILED: "the run did not come to its end",
    Verdict.CANCELLED: "the run was stopped by its user",
}
_MAX_ROWS = 200


def render(report: Report) -> str:
    """Return the report as Markdown text."""
    return "\n".join(_lines(report)).rstrip() + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {report.verdict.value}: {_text(report.experiment.title or report.experiment.name)}"
    yield ""
    yield _text(report.summary)
    yield ""
    yield f"{report.verdict.value} says that {MEANING[report.verdict]}. Exit code {report.exit_code}."
    yield ""
    yield from _failure(report)
    yield from _series(report)
    yield from _stages(report)
    yield from _checks(report)
    yield from _claims(report)
    yield from _metrics(report)
    for table in report.tables:
        yield from _table_reported(table)
    yield from _pins(report)
    yield from _environment(report)
    yield from _rerun(report)


def _failure(report: Report) -> Iterator[str]:
    failure = report.failure
    if failure is None:
        return
    yield "## What went wrong"
    yield ""
    yield _text(failure.message)
    yield ""
    for name, value in (("Stage", failure.stage), ("Where", failure.where), ("What to do", failure.hint)):
        if value:
            yield f"- {name}: {_text(value)}"
    yield ""


def _stages(report: Report) -> Iterator[str]:
    if not report.stages:
        return
    yield "## Stages"
    yield ""
    rows = [
        (_text(name), _text(how), _value(digest) if digest else "") for name, how, digest in stages.rows(report.stages)
    ]
    yield from _grid(stages.HEAD, rows)


def _series(report: Report) -> Iterator[str]:
    if report.series is None:
        return
    yield "## Over the seeds"
    yield ""
    yield f"The test that decides: {_text(series.test_words(report.series))}."
    yield ""
    rows = [tuple(map(_text, row)) for row in series.seed_rows(report.series)]
    yield from _grid([_text(name) for name in series.seed_head(report.series)], rows)
    for metric in report.series.metrics:
        yield f"### {_text(metric.place)}/{_text(metric.name)}: {_WORD[metric.status]}"
        yield ""
        yield f"{_text(metric.decision[:1].upper() + metric.decision[1:])}."
        yield ""
        yield from _grid(("", ""), [(name, _text(value)) for name, value in series.facts(metric)])


def _checks(report: Report) -> Iterator[str]:
    if not report.checks:
        return
    yield "## Checks"
    yield ""
    yield from _grid(
        ("Check", "Status", "Expected", "Observed", "Tolerance"),
        [
            (
                _text(check.name) + ("" if check.required else " (informs only)"),
                _WORD[check.status],
                _value(check.expected),
                _same(check),
                _text(check.tolerance),
            )
            for check in report.checks
        ],
    )
    details = [check for check in report.checks if check.detail]
    for check in details:
        yield f"- {_text(check.name)}: {_text(check.detail)}"
    if details:
        yield ""


def _same(check: Check) -> str:
    """A digest that is the expected one need not be read twice."""
    return "same" if check.observed and check.observed == check.expected else _value(check.observed)


def _claims(report: Report) -> Iterator[str]:
    if not report.claims:
        return
    yield "## Claims"
    yield ""
    yield "What the paper printed, beside what was observed. Claims are no part of the verdict."
    yield ""
    yield from _grid(
        ("Metric", "Claimed", "Observed", "A match within", "Status", "Source"),
        [
            (
                f"{_text(claim.split)}/{_text(claim.metric)}",
                number(claim.claimed),
                number(claim.observed),
                number(claim.within),
                _WORD[claim.status],
                _text(claim.source)
                + ("" if claim.verified else " (not verified)")
                + (f"; {_text(claim.note)}" if claim.note else ""),
            )
            for claim in report.claims
        ],
    )


def _metrics(report: Report) -> Iterator[str]:
    plain = [metric for metric in report.metrics if metric.label is None]
    if plain:
        yield "## Metrics"
        yield ""
        rows = [(_text(metric.place), _text(metric.name), number(metric.value)) for metric in plain]
        yield from _grid(("Split", "Metric", "Value"), rows)
    of_classes = [metric for metric in report.metrics if metric.label is not None]
    for split in sorted({metric.place for metric in of_classes}):
        yield from _by_class(split, [metric for metric in of_classes if metric.place == split])


def _by_class(split: str, metrics: Sequence[Metric]) -> Iterator[str]:
    names = list(dict.fromkeys(metric.name for metric in metrics))
    values = {(metric.label, metric.name): metric.value for metric in metrics}
    labels = sorted({metric.label or "" for metric in metrics})
    yield f"### By class, {_text(split)} split"
    yield ""
    rows = [(_text(label), *(number(values.get((label, name))) for name in names)) for label in labels]
    yield from _grid(("Class", *map(_text, names)), rows)


def _table_reported(table: TableReported) -> Iterator[str]:
    yield f"### {_text(table.name.replace('_', ' ').capitalize())}"
    yield ""
    rows = [tuple(_cell(cell) for cell in row) for row in table.rows[:_MAX_ROWS]]
    yield from _grid([_text(column) for column in table.columns], rows)
    if (more := len(table.rows) - _MAX_ROWS) > 0:
        yield f"{more} more rows are in report.json."
        yield ""


ORIGINS = {
    "assembled": "assembled from locks, bit for bit",
    "pulled": "pulled by digest",
    "built": "built from a Dockerfile: such a build is not reproducible, the environment hash is its pin",
}


def _pins(report: Report) -> Iterator[str]:
    yield "## What ran"
    yield ""
    rows = [("Manifest", _value(report.manifest.path)), ("Manifest SHA-256", _value(report.manifest.sha256))]
    if report.bundle:
        rows[:0] = [("Bundle", _value(report.bundle.name)), ("Bundle SHA-256", _value(report.bundle.sha256))]
    if report.experiment.paper:
        paper = report.experiment.paper
        rows.append(
            ("Paper", _text(", ".join(f"{key} {value}" if key != "title" else value for key, value in paper.items())))
        )
    if report.image:
        rows.append(("Image", _text(ORIGINS[report.image.origin])))
        if report.image.reference:
            rows.append(("Image reference", _value(report.image.reference)))
        if report.image.index_digest:
            rows.append(("Image index digest", _value(report.image.index_digest)))
        rows.append(("Image manifest digest", _value(report.image.manifest_digest)))
        rows.append(("Image config digest", _value(report.image.config_digest)))
        rows.append(("Layers", str(len(report.image.diff_ids))))
    if report.environment_hash:
        rows.append(("Environment hash", _value(report.environment_hash)))
    rows += [
        (f"Output {_text(each.name)}", f"{_value(each.path)}, SHA-256 {_value(each.sha256 or 'not readable')}")
        for each in report.outputs
    ]
    yield from _grid(("", ""), rows)


def _environment(report: Report) -> Iterator[str]:
    yield "## Where it ran"
    yield ""
    rows = [("Run", _value(report.run.id)), ("repro-tui", _text(report.run.version))]
    rows += [("Began", report.run.started or "unknown"), ("Ended", report.run.finished or "unknown")]
    if report.engine:
        engine = report.engine
        rows.append(("Engine", _text(f"{engine.name} ({engine.host}): {engine.reason}")))
        rows += [(f"Engine: {_text(name)}", _text(value)) for name, value in engine.capabilities.items()]
    for key, value in report.host.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        if text:
            rows.append((_text(key.replace("_", " ")), _text(text)))
    yield from _grid(("", ""), rows)
    if report.timings_s:
        yield from _grid(("Stage", "Seconds"), [(_text(name), f"{s:.1f}") for name, s in report.timings_s.items()])


def _rerun(report: Report) -> Iterator[str]:
    yield "## How to run it again"
    yield ""
    yield "```sh"
    yield f"repro-tui --run {_shell(report.bundle.name if report.bundle else report.manifest.path)}"
    yield "```"
    yield ""
    if report.bundle:
        yield f"The bundle must have SHA-256 `{report.bundle.sha256}`."
    yield f"The manifest must have SHA-256 `{report.manifest.sha256}`; the run directory keeps a copy of it."


# --- pieces -----------------------------------------------------------------------------------------------------------


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _text(text: str) -> str:
    """Return text that Markdown shows as it is, in one line."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", flat)


def _value(text: str) -> str:
    """Return a digest, path or number in the type that machines use."""
    flat = "".join(c if c.isprintable() else " " for c in text).replace("|", "\\|").replace("`", "'")
    return f"`{flat}`" if flat else ""


def number(value: Number | None) -> str:
    """Return a value as the report shows it."""
    if value is None:
        return "not measured"
    return value if isinstance(value, str) else f"{value:.6g}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else _text(str(value))


def _shell(path: str) -> str:
    import shlex

    return shlex.quote("".join(c if c.isprintable() else "?" for c in path))
