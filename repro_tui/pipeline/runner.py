"""Walks the stages of a run. Whatever happens, it ends with a decision, a report and the last event."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence

from repro_tui.errors import CancelledError, InfrastructureError, ReproError, from_os_error
from repro_tui.events import RunFinished, StageFinished, StageStarted, StageStatus
from repro_tui.pipeline.context import Context, StageResult
from repro_tui.pipeline.plan import STAGES
from repro_tui.pipeline.stages import artifacts, environment, evaluate, image, report, resolve, train, verify
from repro_tui.verify.verdict import Decision, decide

_RUN: Mapping[str, Callable[[Context], StageResult]] = {
    "resolve": resolve.run,
    "image": image.run,
    "artifacts": artifacts.run,
    "environment": environment.run,
    "train": train.run,
    "evaluate": evaluate.run,
    "verify": verify.run,
}


def walk(
    context: Context, stages: Sequence[str] = STAGES, own: Mapping[str, Callable[[Context], StageResult]] | None = None
) -> Decision:
    """Run every stage until one fails, then decide and report; raises only where not even that can be written.

    `own` are stages that are not those of a run: a series has some.
    """
    failure: ReproError | None = None
    known = {**_RUN, **(own or {})}
    with context.interrupt.watching():
        for stage in stages[:-1]:
            if failure is None:
                failure = _attempt(context, stage, known[stage])
            else:
                _skip(context, stage)
        context.interrupt.shield()
        context.cleanup.close()
        decision = decide(context.checks, failure)
        unwritten = _attempt(context, "report", lambda _: report.run(context, decision, failure))
        if unwritten is not None:
            decision = decide(context.checks, unwritten)
        context.emit(
            RunFinished(
                at=time.time(), verdict=decision.verdict, exit_code=int(decision.exit_code), summary=decision.summary
            )
        )
    return decision


def _attempt(context: Context, stage: str, run: Callable[[Context], StageResult]) -> ReproError | None:
    """Run one stage and tell how it ended; return the error that it ended with."""
    context.stage = stage
    started = time.monotonic()
    error: ReproError | None = None
    result = StageResult(StageStatus.FAILED)
    try:
        context.emit(StageStarted(at=time.time(), stage=stage))
        result = run(context)
        context.interrupt.check()
    except ReproError as raised:
        error = raised
    except OSError as raised:
        traceback.print_exc()
        error = from_os_error(raised)
    except Exception as raised:
        traceback.print_exc()
        error = InfrastructureError(
            f"this should not have happened: {type(raised).__name__}: {raised}",
            where=str(context.run.log("worker")),
            hint="the traceback is in that log; please report it",
        )
    if error is not None:
        if context.interrupt.requested and stage != "report":
            error = CancelledError("the run was cancelled")
        status = StageStatus.CANCELLED if isinstance(error, CancelledError) else StageStatus.FAILED
        result = StageResult(status, error.message)
        context.reserve.release()
        if status is StageStatus.FAILED:
            context.notice("error", _full_text(error), hint=error.hint)
    context.emit(
        StageFinished(
            at=time.time(),
            stage=stage,
            status=result.status,
            elapsed_s=round(time.monotonic() - started, 3),
            detail=result.detail,
        )
    )
    return error


def _skip(context: Context, stage: str) -> None:
    context.emit(StageFinished(at=time.time(), stage=stage, status=StageStatus.SKIPPED, elapsed_s=0.0))


def _full_text(error: ReproError) -> str:
    lines = [error.message, *getattr(error, "problems", ()), *(f"tried {line}" for line in getattr(error, "tried", ()))]
    if error.where:
        lines.append(f"where: {error.where}")
    return "\n".join(lines)
