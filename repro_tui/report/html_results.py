"""What came out, as sections of report.html: failure, checks, seeds, claims, curves, metrics, tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from repro_tui.events import CheckStatus
from repro_tui.manifest.models import ExpectedMetric
from repro_tui.report import charts, stages
from repro_tui.report import series as over_seeds
from repro_tui.report.gather import Beside
from repro_tui.report.markdown import number
from repro_tui.report.markup import Cell, Markup, code, element, facts, section, table, text
from repro_tui.report.model import Check, Metric, Report, TableReported

MAX_CHARTS = 24
MAX_COLUMNS = 60
_FEW_CLASSES = 16
"""A confusion matrix of more of them is set tighter, so that a sheet of paper holds every column."""

_STATUS = {
    CheckStatus.MATCH: ("good", "✓"),
    CheckStatus.WITHIN_TOLERANCE: ("good", "✓"),
    CheckStatus.DIFFERS: ("bad", "≠"),
    CheckStatus.UNVERIFIABLE: ("odd", "?"),
    CheckStatus.NOT_RUN: ("soft", "○"),
}
_RESULTS = frozenset({"metrics", "digests"})


def failure(report: Report, beside: Beside) -> Markup:
    """Return why the run did not come to its end, with the end of the log."""
    if report.failure is None:
        return Markup("")
    why = report.failure
    rows = [("Stage", why.stage), ("Where", code(why.where)), ("What to do", why.hint)]
    log = Markup("")
    if beside.log:
        lines = [text(line, 1000) for line in beside.log]
        log = Markup(element("h3", "The end of its log") + element("pre", Markup("\n".join(lines)), tabindex="0"))
    return section("What went wrong", element("p", why.message), facts(rows), log, id_="failure")


def checks(report: Report, *, results: bool) -> Iterator[Markup]:
    """Yield the checks of what came out, or those of what is pinned."""
    chosen = [check for check in report.checks if (check.component in _RESULTS) == results]
    if not chosen:
        return
    caption = "What came out, beside what the manifest expects." if results else "Everything that is pinned."
    columns = ("Check", "Status", "Expected", "Observed", *(("Difference", "Tolerance") if results else ()))
    yield table(caption, columns, [_check(check, results=results) for check in chosen], limit=500)
    if any(not check.required for check in chosen):
        yield element("p", "A check that “informs” does not decide the verdict.", class_="note")
    for check in chosen:
        if check.detail:
            yield element("p", element("strong", check.name), ": ", check.detail, class_="note")


def _check(check: Check, *, results: bool) -> list[object]:
    kind, sign = _STATUS[check.status]
    same = check.observed and check.observed == check.expected and check.component != "metrics"
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


def seeds(report: Report) -> Markup:
    """Return the runs over several seeds, and the test that decided."""
    series = report.series
    if series is None:
        return Markup("")
    content = [
        element("p", f"The test that decides: {over_seeds.test_words(series)}."),
        table(
            "Each seed, and its verdict by itself.", over_seeds.seed_head(series), list(over_seeds.seed_rows(series))
        ),
    ]
    for metric in series.metrics:
        kind, sign = _STATUS[metric.status]
        title = f"{metric.place}/{metric.name}: {sign} {metric.status.value}"
        content += [
            element("h3", title, class_=kind),
            element("p", f"{metric.decision[:1].upper()}{metric.decision[1:]}."),
            facts(over_seeds.facts(metric)),
        ]
    return section("Over the seeds", *content, id_="seeds")


def stages_table(report: Report) -> Iterator[Markup]:
    """Yield the manifest's stages; nothing where it has one task."""
    if report.stages:
        rows = [(name, how, code(digest)) for name, how, digest in stages.rows(report.stages)]
        yield table("A stage is taken from an earlier run where all that it depends on is the same.", stages.HEAD, rows)


def claims(report: Report) -> Markup:
    """Return what the paper printed, beside what was observed."""
    rows = []
    for claim in report.claims:
        kind, sign = _STATUS[claim.status]
        note = "; ".join(part for part in ("" if claim.verified else "not verified by the author", claim.note) if part)
        rows.append(
            (
                f"{claim.place}/{claim.metric}",
                number(claim.claimed),
                number(claim.observed),
                f"± {number(claim.within)}",
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


def curves(beside: Beside) -> Iterator[Markup]:
    """Yield a chart of each series, with what the manifest expects of it."""
    expected = {
        f"{each.place}/{each.name}": each for each in (beside.manifest.expected.metrics if beside.manifest else ())
    }
    figures: list[Markup] = []
    for name, points in beside.series.items():
        metric = expected.get(name)
        finite = [point for point in points if math.isfinite(point[1])]
        title = text(name, 120)
        chart = charts.line_chart(finite, title=_plain(f"{name} over steps"), band=_band(metric) if metric else None)
        if not chart:
            continue
        notes = [f"Steps {finite[0][0]} to {finite[-1][0]}; the last value is {finite[-1][1]:.6g}."]
        if metric is not None:
            notes.append("Green: the expected value; dashed: the ends of its tolerance.")
        if len(finite) < len(points):
            notes.append("Values that are no finite number are left out.")
        caption = element("figcaption", element("strong", title), " ", " ".join(notes))
        figures.append(element("figure", caption, Markup(chart)))
    if figures:
        yield element("div", *figures[:MAX_CHARTS], class_="curves")
    if len(figures) > MAX_CHARTS:
        yield element("p", f"{len(figures) - MAX_CHARTS} more series are not drawn.", class_="note")


def _band(metric: ExpectedMetric) -> charts.Band:
    allowed = (metric.absolute or 0.0) + (metric.relative or 0.0) * abs(metric.value)
    low = -math.inf if metric.direction == "at-most" else metric.value - allowed
    high = math.inf if metric.direction == "at-least" else metric.value + allowed
    return charts.Band(metric.value, low, high)


def metrics(report: Report) -> Iterator[Markup]:
    """Yield the last values, by class too, and the tables that the task wrote."""
    plain = [metric for metric in report.metrics if metric.label is None]
    if plain:
        rows = [(metric.name, metric.place, number(metric.value)) for metric in plain]
        yield table("The last value of each metric.", ("Metric", "Split", "Value"), rows)
    of_classes = [metric for metric in report.metrics if metric.label is not None]
    for split in sorted({metric.place for metric in of_classes}):
        yield _by_class(split, [metric for metric in of_classes if metric.place == split])
    for reported in report.tables:
        yield _table(reported)


def _by_class(split: str, metrics: Sequence[Metric]) -> Markup:
    names = list(dict.fromkeys(metric.name for metric in metrics))[:MAX_COLUMNS]
    values = {(metric.label, metric.name): metric.value for metric in metrics}
    labels = list(dict.fromkeys(metric.label or "" for metric in metrics))
    rows = [(label, *(number(values.get((label, name))) for name in names)) for label in labels]
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
        made = table(caption, columns, shown, class_="matrix many" if len(columns) > _FEW_CLASSES else "matrix")
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


# --- pieces -----------------------------------------------------------------------------------------------------------


def _plain(words_: str) -> str:
    return "".join(c if c.isprintable() else " " for c in words_)[:200]


def _cell(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return "" if cell is None else str(cell)
