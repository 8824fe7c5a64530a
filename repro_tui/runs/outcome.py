"""How a run ended, as rows for people: each check with the difference, what drifted first, results by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from repro_tui.events import CheckResult, CheckStatus
from repro_tui.runs.state import DEFAULT_SPLIT, MetricKey, RunState, Table, of_stage
from repro_tui.runs.words import short

PER_CLASS = "per_class"
CONFUSION = "confusion_matrix"
"""Names that built-in tasks give their tables; docs/wire-format.md has them for others."""

_HELD = frozenset({CheckStatus.MATCH.value, CheckStatus.WITHIN_TOLERANCE.value})
_RESULTS = frozenset({"metrics", "digests"})


@dataclass(frozen=True, slots=True)
class Row:
    """A check or a claim; every value is text, a digest by its first digits. `decides` False: it informs only."""

    name: str
    status: str
    expected: str
    observed: str
    difference: str
    tolerance: str
    detail: str = ""
    decides: bool = True
    component: str = ""


def check_rows(state: RunState) -> list[Row]:
    """Return every check of a run: what decides and does not hold first, then results, then pins."""
    rows = [check_row(check) for check in state.checks.values() if check.required or check.expected or check.observed]
    return sorted(rows, key=lambda row: (row.status in _HELD or not row.decides, row.component not in _RESULTS))


def check_row(check: CheckResult) -> Row:
    """Return one check."""
    return Row(
        name=check.name,
        status=check.status.value,
        expected=number(check.expected),
        observed=number(check.observed),
        difference=difference(check.expected, check.observed),
        tolerance=check.tolerance,
        detail=check.detail,
        decides=check.required,
        component=check.component,
    )


def drifts(state: RunState) -> list[CheckResult]:
    """Return what decides and does not hold, in the order in which the run met it: the first is what drifted first.

    The parts of the environment are left out where the check of the whole names what is different.
    """
    required = [check for check in state.checks.values() if check.required]
    found = [check for check in required if check.status is CheckStatus.DIFFERS]
    found = found or [check for check in required if check.status is CheckStatus.UNVERIFIABLE]
    told = any(check.component == "environment" and check.detail and ":" not in check.name for check in found)
    return sorted(
        (check for check in found if not (told and check.name.startswith("environment:"))), key=lambda check: check.at
    )


def drift_words(check: CheckResult) -> str:
    """Return what a check that does not hold is about, down to the name."""
    if check.detail:
        return f"{check.name}: {check.detail}"
    return f"{check.name}: {number(check.observed) or 'nothing'} in place of {number(check.expected) or 'nothing'}"


def difference(expected: str, observed: str) -> str:
    """Return observed minus expected for numbers, "same" or "other" for all else; empty where one is not known."""
    if not expected or not observed:
        return ""
    one, other = _float(expected), _float(observed)
    if one is None or other is None or not (math.isfinite(one) and math.isfinite(other)):
        return "same" if expected == observed else "other"
    return "0" if one == other else f"{other - one:+.3g}"


def number(text: str) -> str:
    """Return a number with six digits, a digest by its first twelve, anything else as it is."""
    value = _float(text)
    return short(text) if value is None or text.isdigit() else f"{value:.6g}"


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def by_class(state: RunState) -> Table | None:
    """Return results by class, of the last stage: the task's table, else one made of its metrics of one class each."""
    table = state.tables.get(of_stage(state.task_stage, PER_CLASS))
    if table is not None:
        return table
    keys = [key for key in state.metrics if key.label and (key.split, key.stage) == (DEFAULT_SPLIT, state.task_stage)]
    if not keys:
        return None
    names = tuple(dict.fromkeys(key.name for key in keys))
    rows = tuple(
        (label, *(_value(state, name, label) for name in names)) for label in dict.fromkeys(key.label for key in keys)
    )
    return Table(("class", *names), rows)


def _value(state: RunState, name: str, label: str) -> float | None:
    found = state.metrics.get(MetricKey(name, DEFAULT_SPLIT, label, state.task_stage))
    return None if found is None else found.value


def confusion(state: RunState) -> Table | None:
    """Return the confusion matrix."""
    return state.tables.get(of_stage(state.task_stage, CONFUSION))


def cell(value: Any) -> str:
    """Return a value of a table as text."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cells(table: Table, limit: int = 60) -> Sequence[Sequence[str]]:
    """Return the rows of a table as text, so many at most, each as long as there are columns."""
    width = len(table.columns)
    return [tuple(([cell(value) for value in row] + [""] * width)[:width]) for row in table.rows[:limit]]
