"""From the seeds of a series to its checks: pins as the worst of any seed, metrics by the test over all of them.

A seed that failed leaves the series FAILED: to judge by the others would be to choose among results.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from repro_tui import wire
from repro_tui.errors import InfrastructureError, ReproError, RunFailedError
from repro_tui.events import CheckResult, CheckStatus, Verdict
from repro_tui.pipeline.context import Context, StageResult
from repro_tui.report.build import number
from repro_tui.report.model import MetricOverSeeds, SeedReported, SeriesReported
from repro_tui.runs.state import MetricKey, of_stage
from repro_tui.verify.environment import read_summary
from repro_tui.verify.metrics import key_of
from repro_tui.verify.seeds import OverSeeds, over_seeds

if TYPE_CHECKING:
    from repro_tui.pipeline.series import Seed

_BY_WEIGHT = (
    CheckStatus.DIFFERS,
    CheckStatus.UNVERIFIABLE,
    CheckStatus.NOT_RUN,
    CheckStatus.WITHIN_TOLERANCE,
    CheckStatus.MATCH,
)


def gather(context: Context, seeds: Sequence[Seed], at_once: int) -> None:
    """Leave in the context what the seeds gave so far, and tell their pins as checks of the series."""
    context.seeds = tuple(seeds)
    for check in _worst(context, seeds):
        context.record(check)
    for each in seeds:
        if context.summary is None and each.run.environment.is_file():
            with suppress(ReproError):
                context.summary = read_summary(each.run.environment)
    context.series = _reported(context, at_once, ())


def verify(context: Context) -> StageResult:
    """Judge every expected metric over the seeds; raises where a seed did not come to its end."""
    from repro_tui.pipeline.series import rule

    sample = [each for each in context.seeds if not each.again]
    for each in context.seeds:
        if not each.whole and each.reader.state.verdict is not Verdict.ENVIRONMENT_DRIFT and not _drifted(context):
            raise _failure(each)
    if not all(each.whole for each in sample):
        return StageResult(detail="a seed drifted: nothing is judged")
    found = [
        over_seeds(expected, _values(sample, key_of(expected)), rule(context))
        for expected in context.loaded.manifest.expected.metrics
    ]
    for each_metric in found:
        context.record(each_metric.check(time.time()))
    context.series = _reported(context, context.series.at_once if context.series else 1, found)
    _means(context, sample)
    recorded = next(
        (
            each
            for each in sample
            if each.seed == context.loaded.manifest.determinism.seed and each.run.record.is_file()
        ),
        None,
    )
    if recorded is not None:
        shutil.copyfile(recorded.run.record, context.run.record)
    return StageResult(
        detail="; ".join(
            f"{of_stage(each.expected.stage or '', each.expected.name)}: {each.judgement.words}" for each in found
        )
    )


def _worst(context: Context, seeds: Sequence[Seed]) -> list[CheckResult]:
    """Return each check of a pin, or of an output of the recorded seed, as the seed has it where it is worst."""
    found: dict[str, list[tuple[Seed, CheckResult]]] = {}
    for each in seeds:
        for name, check in each.reader.state.checks.items():
            if check.component != "metrics" and not (name in context.state.checks and check.component == "artifacts"):
                found.setdefault(name, []).append((each, check))
    checks = []
    for name, results in found.items():
        each, check = min(results, key=lambda result: (not result[1].required, _BY_WEIGHT.index(result[1].status)))
        own = context.state.checks.get(name)
        if own is not None and own.status is not CheckStatus.NOT_RUN and check.status is CheckStatus.MATCH:
            continue
        passed = check.status in {CheckStatus.MATCH, CheckStatus.WITHIN_TOLERANCE}
        detail = check.detail if passed else f"seed {each.name}: {check.detail or check.status.value}"
        checks.append(replace(check, at=time.time(), detail=detail))
    return checks


def _drifted(context: Context) -> bool:
    """Say whether a seed ended at a drift: then no further one was begun."""
    return any(each.reader.state.verdict is Verdict.ENVIRONMENT_DRIFT and not each.whole for each in context.seeds)


def _failure(each: Seed) -> ReproError:
    state = each.reader.state
    said = state.summary or "its worker died without a word"
    kind = RunFailedError if state.exit_code == RunFailedError.exit_code else InfrastructureError
    return kind(
        f"seed {each.name} failed: {said}",
        where=str(each.run.path),
        hint="no verdict leaves a seed out; `repro-tui run --resume` keeps the finished ones and runs this one again",
    )


def _values(sample: Sequence[Seed], key: MetricKey) -> dict[int, float | None]:
    found = {}
    for each in sample:
        metric = each.reader.state.metrics.get(key)
        found[each.seed] = metric.value if metric is not None else None
    return found


def _reported(context: Context, at_once: int, judged: Sequence[OverSeeds]) -> SeriesReported:
    from repro_tui.pipeline.series import rule

    test = rule(context)
    return SeriesReported(
        test=test.test,
        confidence=test.confidence,
        at_once=max(1, at_once),
        seeds=[
            SeedReported(
                seed=each.seed,
                run=f"seeds/{each.name}",
                verdict=each.reader.state.verdict,
                summary=each.reader.state.summary,
                kept=each.kept,
            )
            for each in context.seeds
        ],
        metrics=[_metric(each) for each in judged],
    )


def _metric(found: OverSeeds) -> MetricOverSeeds:
    said = found.judgement
    return MetricOverSeeds(
        name=found.expected.name,
        split=found.expected.split,
        stage=found.expected.stage or "",
        values=[number(value) for value in found.values],
        mean=number(found.mean),
        spread=number(found.spread),
        recorded=list(found.expected.samples or ()),
        status=found.status,
        decision=said.words,
        statistic=_finite(said.statistic),
        degrees=_finite(said.degrees),
        interval=None
        if said.interval is None
        else [side for each in said.interval if (side := number(each)) is not None],
        p_values=list(said.p_values),
        power=_finite(said.power),
        margin=_finite(said.margin),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _means(context: Context, sample: Sequence[Seed]) -> None:
    """Tell the mean of each metric as the series' own: what claims are compared with, and readers show last."""
    keys: Mapping[MetricKey, None] = dict.fromkeys(key for each in sample for key in each.reader.state.metrics)
    with context.run.metrics.open("a", encoding="utf-8") as file:
        for key in keys:
            values = [value for value in _values(sample, key).values() if value is not None]
            if not key.label and len(values) == len(sample):
                lines = [wire.encode("stage", stage=key.stage)] if key.stage != context.state.task_stage else []
                lines.append(
                    wire.encode("metric", name=key.name, split=key.split, value=math.fsum(values) / len(values))
                )
                for line in lines:
                    file.write(line)
                    context.state.apply_line(line.rstrip("\n"))
