"""report.html: the report as one page for a reviewer, on the screen and on paper.

It loads nothing and runs nothing: the style sheet and the charts are in it, and its own policy forbids the rest.
Whatever comes from a run is escaped. The same run gives the same bytes.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro_tui.events import CheckStatus, Verdict
from repro_tui.manifest.models import ExpectedMetric, Manifest
from repro_tui.report import charts
from repro_tui.report.linked import paper_address, source_address
from repro_tui.report.markdown import MEANING, ORIGINS
from repro_tui.report.markup import Cell, Markup, code, element, facts, section, table, text
from repro_tui.report.model import Check, Metric, Number, Report, TableReported
from repro_tui.runs import words

MAX_CHARTS = 24
MAX_COLUMNS = 60
MAX_LOG_LINES = 120

_STYLE = Path(__file__).with_name("report.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_SIGNS = {
    Verdict.REPRODUCED: ("good", "✓"),
    Verdict.METRICS_DIFFER: ("bad", "≠"),
    Verdict.ENVIRONMENT_DRIFT: ("bad", "≠"),
    Verdict.INCONCLUSIVE: ("odd", "?"),
    Verdict.FAILED: ("bad", "✗"),
    Verdict.CANCELLED: ("odd", "■"),
}
_STATUS = {
    CheckStatus.MATCH: ("good", "✓"),
    CheckStatus.WITHIN_TOLERANCE: ("good", "✓"),
    CheckStatus.DIFFERS: ("bad", "≠"),
    CheckStatus.UNVERIFIABLE: ("odd", "?"),
    CheckStatus.NOT_RUN: ("soft", "○"),
}
_RESULTS = frozenset({"metrics", "digests"})

Series = Mapping[str, Sequence[tuple[int, float]]]


@dataclass(frozen=True, slots=True)
class Beside:
    """What a page shows beside the report, as far as it is there."""

    manifest: Manifest | None = None
    series: Series = field(default_factory=dict)
    """Of numbers over steps, by name: "loss", "test/accuracy"."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Versions of the image's Python packages by name."""
    log: Sequence[str] = ()
    """The last lines of the stage that failed."""


def render(report: Report, beside: Beside | None = None) -> str:
    """Return the page; raises InfrastructureError where there are curves to draw and pygal is missing."""
    beside = beside or Beside()
    title = f"{report.verdict.value}: {report.experiment.title or report.experiment.name}"
    sections = [each for each in _sections(report, beside) if each]
    page = element(
        "html",
        Markup('<head>\n<meta charset="utf-8">\n'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">\n'),
        Markup('<meta name="referrer" content="no-referrer">\n'),
        element("title", title),
        Markup(f"\n<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"),
        element("header", _head(report), _contents(sections)),
        Markup("\n<main>\n" + "\n".join(sections) + "\n</main>\n"),
        element("footer", f"Made by repro-tui {report.run.version} from the files of run {report.run.id}."),
        Markup("\n</body>\n"),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def _sections(report: Report, beside: Beside) -> Iterator[Markup]:
    yield _failure(report, beside)
    yield section("Results", *_checks(report, results=True), id_="results")
    yield _claims(report)
    yield section("Curves", *_curves(beside), id_="curves")
    yield section("Metrics", *_metrics(report), id_="metrics")
    yield section("Pins", *_checks(report, results=False), *_pins(report), id_="pins")
    yield section("Inputs", *_inputs(beside.manifest), id_="inputs")
    yield section("Environment", *_environment(report, beside), id_="environment")
    yield section("How to run it again", *_rerun(report), id_="rerun")


def _head(report: Report) -> Markup:
    kind, sign = _SIGNS[report.verdict]
    experiment = report.experiment
    paper = experiment.paper or {}
    known = ", ".join(part for part in (paper.get("title", ""), paper_address(paper) or "") if part)
    return Markup(
        element("h1", experiment.title or experiment.name)
        + (element("p", f"Paper: {known}", class_="soft") if known else "")
        + element(
            "div",
            element("strong", f"{sign} {report.verdict.value}"),
            element("p", report.summary),
            element("p", f"It says that {MEANING[report.verdict]}. Exit code {report.exit_code}.", class_="note"),
            class_=f"verdict {kind}",
            role="status",
        )
        + element(
            "p",
            f"Run {report.run.id}, from {report.run.started or 'an unknown time'}"
            f" to {report.run.finished or 'an unknown time'}.",
            class_="note",
        )
    )


def _contents(sections: Sequence[Markup]) -> Markup:
    """Return links to the sections, by the headings that they have."""
    links = []
    for each in sections:
        before, _, rest = each.partition("</h2>")
        name, title = before.rpartition('id="')[2].split('">', 1)
        links.append(element("li", Markup(f'<a href="#{name}">{title}</a>')) if rest else Markup(""))
    return element("nav", element("ul", *links), aria_label="Sections")


# --- what came out ----------------------------------------------------------------------------------------------------


def _failure(report: Report, beside: Beside) -> Markup:
    failure = report.failure
    if failure is None:
        return Markup("")
    rows = [("Stage", failure.stage), ("Where", code(failure.where)), ("What to do", failure.hint)]
    log = Markup("")
    if beside.log:
        lines = [text(line, 1000) for line in beside.log[-MAX_LOG_LINES:]]
        log = Markup(element("h3", "The end of its log") + element("pre", Markup("\n".join(lines)), tabindex="0"))
    return section("What went wrong", element("p", failure.message), facts(rows), log, id_="failure")


def _checks(report: Report, *, results: bool) -> Iterator[Markup]:
    checks = [check for check in report.checks if (check.component in _RESULTS) == results]
    if not checks:
        return
    caption = "What came out, beside what the manifest expects." if results else "Everything that is pinned."
    columns = ("Check", "Status", "Expected", "Observed", *(("Difference", "Tolerance") if results else ()))
    yield table(caption, columns, [_check(check, results=results) for check in checks], limit=500)
    if any(not check.required for check in checks):
        yield element("p", "A check that “informs” does not decide the verdict.", class_="note")
    for check in checks:
        if check.detail:
            yield element("p", element("strong", check.name), ": ", check.detail, class_="note")


def _check(check: Check, *, results: bool) -> list[object]:
    kind, sign = _STATUS[check.status]
    same = check.observed and check.observed == check.expected and not results
    row: list[object] = [
        check.name,
        Cell(f"{sign} {check.status.value}" + ("" if check.required else " (informs)"), kind),
        code(check.expected),
        "the same" if same else code(check.observed),
    ]
    return [*row, _difference(check), check.tolerance] if results else row


def _difference(check: Check) -> str:
    try:
        expected, observed = float(check.expected), float(check.observed)
    except ValueError:
        return ""
    difference = observed - expected
    return f"{difference:+.4g}" if math.isfinite(difference) and difference else ("0" if difference == 0 else "")


def _claims(report: Report) -> Markup:
    rows = []
    for claim in report.claims:
        kind, sign = _STATUS[claim.status]
        note = "; ".join(part for part in ("" if claim.verified else "not verified by the author", claim.note) if part)
        rows.append(
            (
                f"{claim.split}/{claim.metric}",
                _number(claim.claimed),
                _number(claim.observed),
                f"± {_number(claim.within)}",
                Cell(f"{sign} {claim.status.value}", kind),
                claim.source + (f" ({note})" if note else ""),
            )
        )
    if not rows:
        return Markup("")
    return section(
        "The paper's numbers",
        table(
            "What the paper printed, beside what was observed. Claims are no part of the verdict.",
            ("Metric", "Printed", "Observed", "A match within", "Status", "Source"),
            rows,
        ),
        id_="claims",
    )


def _curves(beside: Beside) -> Iterator[Markup]:
    expected = {
        f"{each.split}/{each.name}": each for each in (beside.manifest.expected.metrics if beside.manifest else ())
    }
    drawn = 0
    for name, points in beside.series.items():
        metric = expected.get(name)
        finite = [point for point in points if math.isfinite(point[1])]
        title = text(name, 120)
        chart = charts.line_chart(finite, title=_plain(f"{name} over steps"), band=_band(metric) if metric else None)
        if not chart:
            continue
        drawn += 1
        if drawn > MAX_CHARTS:
            yield element("p", f"{len(beside.series) - MAX_CHARTS} more series are not drawn.", class_="note")
            return
        notes = [f"{title}, from step {finite[0][0]} to step {finite[-1][0]}; the last value is {finite[-1][1]:.6g}."]
        if metric is not None:
            notes.append("Green: the expected value; dashed: the ends of its tolerance.")
        if len(finite) < len(points):
            notes.append("Values that are no finite number are left out.")
        yield element("figure", Markup(chart), element("figcaption", Markup(" ".join(notes))))


def _band(metric: ExpectedMetric) -> charts.Band:
    allowed = (metric.absolute or 0.0) + (metric.relative or 0.0) * abs(metric.value)
    low = -math.inf if metric.direction == "at-most" else metric.value - allowed
    high = math.inf if metric.direction == "at-least" else metric.value + allowed
    return charts.Band(metric.value, low, high)


def _metrics(report: Report) -> Iterator[Markup]:
    plain = [metric for metric in report.metrics if metric.label is None]
    if plain:
        rows = [(metric.name, metric.split, _number(metric.value)) for metric in plain]
        yield table("The last value of each metric.", ("Metric", "Split", "Value"), rows)
    of_classes = [metric for metric in report.metrics if metric.label is not None]
    for split in sorted({metric.split for metric in of_classes}):
        yield _by_class(split, [metric for metric in of_classes if metric.split == split])
    for reported in report.tables:
        yield _table(reported)


def _by_class(split: str, metrics: Sequence[Metric]) -> Markup:
    names = list(dict.fromkeys(metric.name for metric in metrics))[:MAX_COLUMNS]
    values = {(metric.label, metric.name): metric.value for metric in metrics}
    labels = list(dict.fromkeys(metric.label or "" for metric in metrics))
    rows = [(label, *(_number(values.get((label, name))) for name in names)) for label in labels]
    return table(f"By class, {split} split.", ("Class", *names), rows)


def _table(reported: TableReported) -> Markup:
    columns = reported.columns[:MAX_COLUMNS]
    rows = [row[:MAX_COLUMNS] for row in reported.rows if row]
    title = reported.name.replace("_", " ").capitalize()
    counts = [[cell for cell in row[1:] if _is_count(cell)] for row in rows]
    matrix = reported.name == "confusion_matrix" and all(
        len(found) == len(row) - 1 == len(columns) - 1 for found, row in zip(counts, rows, strict=True)
    )
    if matrix:
        shown = [[str(row[0]), *_heated(row[1:], list(columns[1:]), str(row[0]))] for row in rows]
        caption = f"{title}: a row is a true class, a column a predicted one; darker is more of the row."
        made = table(caption, columns, shown, class_="matrix")
    else:
        made = table(f"{title}.", columns, [[str(row[0]), *(_cell(cell) for cell in row[1:])] for row in rows])
    if len(reported.columns) > MAX_COLUMNS:
        made = Markup(made + element("p", f"Only {MAX_COLUMNS} columns are shown.", class_="note"))
    return made


def _heated(counts: Sequence[float], columns: Sequence[str], label: str) -> Iterator[Cell]:
    whole = sum(counts)
    for column, count in zip(columns, counts, strict=True):
        part = count / whole if whole else 0.0
        heat = sum(part >= step for step in (0.005, 0.1, 0.4, 0.75))
        yield Cell(_cell(count), f"heat{heat}" + (" right" if column == label else ""))


def _is_count(cell: object) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool) and 0 <= cell < math.inf


# --- what ran ---------------------------------------------------------------------------------------------------------


def _pins(report: Report) -> Iterator[Markup]:
    rows: list[tuple[str, object]] = [
        ("Manifest", code(report.manifest.path)),
        ("Manifest SHA-256", code(report.manifest.sha256)),
    ]
    if image := report.image:
        rows += [
            ("Image", ORIGINS[image.origin]),
            ("Image reference", code(image.reference)),
            ("Image index digest", code(image.index_digest)),
            ("Image manifest digest", code(image.manifest_digest)),
            ("Image config digest", code(image.config_digest)),
            ("Layers", str(len(image.diff_ids))),
        ]
    rows.append(("Environment hash", code(report.environment_hash or "")))
    yield facts(rows)
    if report.outputs:
        files = [
            (each.name, code(each.path), code(each.sha256 or "not readable"), _size(each.bytes))
            for each in report.outputs
        ]
        yield table("Files that came out.", ("Output", "Path", "SHA-256", "Size"), files)


def _inputs(manifest: Manifest | None) -> Iterator[Markup]:
    if manifest is None:
        return
    yield table(
        "What the run reads.",
        ("Input", "Kind", "SHA-256", "Size", "Licence", "First source"),
        [
            (
                artifact.name,
                artifact.kind,
                code(artifact.sha256 or f"{artifact.tree_sha256} (folder)"),
                words.size(artifact.bytes),
                artifact.licence or "not said",
                code(source_address(artifact.sources[0])),
            )
            for artifact in manifest.artifacts
        ],
    )
    values = {**manifest.hyperparameters, "seed": manifest.determinism.seed}
    if manifest.determinism.data_seed is not None:
        values["data seed"] = manifest.determinism.data_seed
    yield table(
        f"Hyperparameters and seeds. Two runs promise each other: {manifest.determinism.level}.",
        ("Name", "Value"),
        [(name, str(value)) for name, value in values.items()],
    )


def _environment(report: Report, beside: Beside) -> Iterator[Markup]:
    rows: list[tuple[str, object]] = [("repro-tui", report.run.version)]
    if engine := report.engine:
        rows.append(("Engine", f"{engine.name} ({engine.host}): {engine.reason}"))
    for key, value in report.host.items():
        rows.append((key.removesuffix("_bytes").replace("_", " "), _host(key, value)))
    yield facts(rows)
    if report.engine and report.engine.capabilities:
        held = facts(list(report.engine.capabilities.items()))
        yield element("details", element("summary", "What the engine could hold to"), held)
    if report.timings_s:
        timings = [(name, words.duration(seconds)) for name, seconds in report.timings_s.items()]
        yield table("Time by stage.", ("Stage", "Time"), timings)
    if beside.packages:
        versions = [(name, code(version)) for name, version in sorted(beside.packages.items())]
        listed = table("As the probe found them in the container.", ("Package", "Version"), versions, limit=1000)
        yield element("details", element("summary", f"{len(versions)} Python packages of the image"), listed)


def _rerun(report: Report) -> Iterator[Markup]:
    path = "".join(c if c.isprintable() else "?" for c in report.manifest.path)
    yield element("pre", f"repro-tui --run {shlex.quote(path)}")
    yield element(
        "p",
        "The manifest must have SHA-256 ",
        code(report.manifest.sha256),
        "; the run directory keeps a copy of it. The exit code is 0 only where the result comes out again.",
    )


# --- pieces -----------------------------------------------------------------------------------------------------------


def _plain(words_: str) -> str:
    return "".join(c if c.isprintable() else " " for c in words_)[:200]


def _number(value: Number | None) -> str:
    if value is None:
        return "not measured"
    return value if isinstance(value, str) else f"{value:.6g}"


def _cell(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return "" if cell is None else str(cell)


def _size(count: int | None) -> str:
    return "unknown" if count is None else words.size(count)


def _host(key: str, value: Any) -> str:
    if key.endswith("_bytes") and isinstance(value, int):
        return words.size(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
