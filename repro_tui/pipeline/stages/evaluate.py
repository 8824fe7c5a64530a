"""evaluate: follow the task's container from its first word of evaluation to its end."""

from __future__ import annotations

from repro_tui.events import StageStatus
from repro_tui.pipeline import task_stages
from repro_tui.pipeline.context import Context, StageResult


def run(context: Context) -> StageResult:
    """Wait for the container's end; a task that never said that it evaluates has ended already."""
    if context.task.phase != "evaluate":
        return StageResult(StageStatus.SKIPPED, "the task did not tell its evaluation from its training")
    with context.interrupt.shielded():
        context.task.follow()
    task_stages.end_last(context, context.task.elapsed_s)
    return StageResult(detail=context.task.metrics_text())
