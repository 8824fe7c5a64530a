"""train: start the task's container, and follow it until it evaluates or ends."""

from __future__ import annotations

from repro_tui.pipeline import containers
from repro_tui.pipeline.context import Context, StageResult
from repro_tui.pipeline.task import TaskRun


def run(context: Context) -> StageResult:
    """Leave `context.task`: the container, evaluating or ended well."""
    spec = containers.task_spec(context, context.log)
    with context.interrupt.shielded():
        context.task = TaskRun(context, context.engine.start(context.image, spec), spec)
        context.task.follow(until="evaluate")
    return StageResult(detail=context.task.steps_text())
