"""Two sides in, an explanation out."""

from __future__ import annotations

from collections.abc import Iterator

from repro_tui.artifacts.store import default_store_path
from repro_tui.report.explain.files import Clock
from repro_tui.report.explain.inputs import job_causes
from repro_tui.report.explain.losses import parting
from repro_tui.report.explain.model import Cause, Explanation, Kind, Parting
from repro_tui.report.explain.outcomes import outcomes
from repro_tui.report.explain.sides import Side, of_run, stages_of
from repro_tui.report.explain.surroundings import surrounding_causes
from repro_tui.runs.directory import RunDirectory

_ORDER = {kind: place for place, kind in enumerate(Kind)}


def explain(left: Side, right: Side, clock: Clock | None = None) -> Explanation:
    """Return everything that is known to differ, the likeliest cause first, and what is not known."""
    clock = clock or Clock()
    unknown = list(_unknown(left, right))
    compared = bool(left.job.keys() & right.job.keys())
    try:
        causes = [*job_causes(left, right, clock), *surrounding_causes(left, right)]
    except RecursionError:
        causes, compared = [], False
        unknown.append("what one side says of itself is nested too deep to be compared")
    return Explanation(
        left.named,
        right.named,
        tuple(ranked(causes)),
        _parting(left, right, Clock(clock.patience_s)),  # whatever the data took
        tuple(outcomes(left, right)),
        tuple(unknown),
        compared,
    )


def explain_runs(left: RunDirectory, right: RunDirectory) -> Explanation:
    """Explain two runs; data is looked for in their own stores and in the usual one."""
    store = default_store_path()
    return explain(of_run(left, store=store), of_run(right, store=store))


def ranked(causes: list[Cause]) -> list[Cause]:
    """Return the causes by weight; of one kind as they were found; what follows from another one last."""
    return sorted(causes, key=lambda each: (-each.weight, _ORDER[each.kind]))


def _parting(left: Side, right: Side, clock: Clock) -> Parting | None:
    if left.series is None or right.series is None:
        return None
    common = [name for name in left.names if name in set(right.names)]
    return parting(left.series, right.series, common, clock)


_PARTS = (
    ("hyperparameters", "hyperparameters"),
    ("artifacts", "data, weights and code"),
    ("splits", "splits"),
    ("determinism", "seeds"),
)


def _unknown(left: Side, right: Side) -> Iterator[str]:
    for word, side in (("left", left), ("right", right)):
        missing = [
            text
            for section, text in _PARTS
            if not any(section in job for job in (side.job, *stages_of(side.job).values()))
        ]
        if side.environment is None and not side.lock:
            missing.append("packages")
        if side.environment is None:
            missing.append("what the probe saw")
        if not side.host:
            missing.append("the machine")
        if not side.metrics:
            missing.append("final metrics")
        if side.named.kind == "run" and not side.names:
            missing.append("losses")
        if missing:
            yield f"of the {word} one: {', '.join(missing)}"
