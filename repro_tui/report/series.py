"""The seeds of a series in words: one set of rows for Markdown and for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from repro_tui.report.model import MetricOverSeeds, Number, SeriesReported

_TESTS = {
    "every-seed": "every seed within its tolerance",
    "prediction-interval": "the mean in a prediction interval of the recorded seeds",
    "equivalence": "two one-sided tests of equivalence with the recorded seeds",
}


def test_words(series: SeriesReported) -> str:
    """Return the test that decides, in words."""
    confidence = f", confidence {series.confidence:g}" if series.test != "every-seed" else ""
    return f"{_TESTS[series.test]}{confidence}"


def seed_rows(series: SeriesReported) -> Iterator[tuple[str, ...]]:
    """Yield a row a run: the seed, each metric's value, the verdict of that run by itself."""
    place = -1
    for each in series.seeds:
        again = each.run.endswith(".again")
        place += not again
        values = ["" if again else number(metric.values[place]) for metric in series.metrics]
        word = each.verdict.value if each.verdict is not None else "no verdict"
        name = f"{each.seed} again" if again else str(each.seed)
        yield (name, *values, word + (" (kept)" if each.kept else ""))


def seed_head(series: SeriesReported) -> tuple[str, ...]:
    """Return the names of the columns of `seed_rows`."""
    return ("Seed", *(f"{metric.place}/{metric.name}" for metric in series.metrics), "By itself")


def facts(metric: MetricOverSeeds) -> Iterator[tuple[str, str]]:
    """Yield what the test found of a metric."""
    yield "mean", number(metric.mean)
    if metric.spread is not None:
        yield "standard deviation", number(metric.spread)
    if metric.recorded:
        yield "recorded", ", ".join(number(value) for value in metric.recorded)
    if metric.statistic is not None:
        yield "t", f"{metric.statistic:.4g} ({metric.degrees or 0:.4g} degrees of freedom)"
    if metric.p_values:
        yield "p", ", ".join(f"{value:.3g}" for value in metric.p_values)
    if metric.interval is not None:
        yield "interval", " to ".join(number(side) for side in metric.interval)
    if metric.margin is not None:
        yield "margin", f"{metric.margin:.6g}"
    if metric.power is not None:
        yield "power", f"{metric.power:.2f}"


def text(series: SeriesReported) -> Iterator[str]:
    """Yield lines for a terminal."""
    yield f"  over {len(series.seeds)} runs: {test_words(series)}"
    rows = [seed_head(series), *seed_rows(series)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "    " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for metric in series.metrics:
        yield f"  {metric.place}/{metric.name}: {metric.status.value}: {metric.decision}"
        yield f"    {'; '.join(f'{name} {value}' for name, value in facts(metric))}"


def number(value: Number | None) -> str:
    """Return a number with six digits."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.6g}"
