"""train: run the manifest's stages, and start the last one's container (the only one's) until it evaluates or ends."""

from __future__ import annotations

from repro_tui.pipeline import task_stages
from repro_tui.pipeline.context import Context, StageResult


def run(context: Context) -> StageResult:
    """Leave `context.task`: the last container, evaluating or ended well."""
    told = task_stages.run_earlier(context)
    with context.interrupt.shielded():
        context.task = task_stages.begin_last(context)
        context.task.follow(until="evaluate")
    if context.task.ended:
        task_stages.end_last(context, context.task.elapsed_s)
    return StageResult(detail=", ".join([*told, context.task.steps_text()]))
