"""The stages of a manifest, one container after the other; the task of one without stages is the last of them.

An earlier stage is taken from the store where everything it depends on is the same. The last one always runs.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from repro_tui.errors import CancelledError, ReproError
from repro_tui.events import StageProgress, StageStatus, TaskStage
from repro_tui.manifest.models import Stage
from repro_tui.pipeline import containers, handed_on
from repro_tui.pipeline.context import Context
from repro_tui.pipeline.task import TaskRun
from repro_tui.runs import words

_STAGE = "train"
"""The stage of the run in which those of the manifest are at work."""


def run_earlier(context: Context) -> list[str]:
    """Leave in `context.handed_on` what every stage but the last hands on; return a word on each."""
    return [_earlier(context, stage) for stage in context.loaded.manifest.every_stage[:-1]]


def begin_last(context: Context) -> TaskRun:
    """Start the last stage's container; to be called, and followed, under `interrupt.shielded()`."""
    stage = context.loaded.manifest.every_stage[-1]
    if stage.name:
        _tell(context, stage)
    return _start(context, stage)


def end_last(context: Context, elapsed_s: float) -> None:
    """Tell that the last stage ended well, where it is one of several or has a name."""
    stage = context.loaded.manifest.every_stage[-1]
    if stage.name:
        _tell(context, stage, StageStatus.PASSED, elapsed_s=elapsed_s, key=handed_on.key_of(context, stage))


def _earlier(context: Context, stage: Stage) -> str:
    began = time.monotonic()
    try:
        with context.interrupt.shielded():
            return _taken(context, stage) or _run(context, stage)
    except ReproError as error:
        status = StageStatus.CANCELLED if isinstance(error, CancelledError) else StageStatus.FAILED
        if stage.name not in context.handed_on:
            _tell(context, stage, status, elapsed_s=time.monotonic() - began)
        raise


def _taken(context: Context, stage: Stage) -> str | None:
    _tell(context, stage)
    if context.options.fresh or not handed_on.is_kept(context):
        return None
    key = handed_on.key_of(context, stage)
    found = handed_on.take(context, stage, key)
    if found is None:
        return None
    context.handed_on[stage.name], note = found
    _tell(
        context, stage, StageStatus.CACHED, elapsed_s=note.elapsed_s, key=key, tree_sha256=note.tree_sha256,
        run=note.run,
    )  # fmt: skip
    saved = words.duration(note.elapsed_s)
    context.notice(
        "info", f"stage {stage.name}: taken from the run {note.run}, which took {saved} for it",
        hint="--fresh runs it again",
    )  # fmt: skip
    return f"{stage.name} cached"


def _run(context: Context, stage: Stage) -> str:
    """Run an earlier stage to its end, and put what it wrote into the store: a later failure leaves it there."""
    began, metrics_from, log_from = time.monotonic(), _size(context.run.metrics), _log(context, stage)
    task = _start(context, stage)
    task.follow()
    elapsed_s = round(time.monotonic() - began, 3)
    key = handed_on.key_of(context, stage)
    given = context.handed_on[stage.name] = handed_on.hand_on(context, stage)
    if handed_on.is_kept(context):
        handed_on.keep(
            context, key, given, metrics_from=metrics_from, log_from=log_from, elapsed_s=elapsed_s
        )  # fmt: skip
    _tell(context, stage, StageStatus.PASSED, elapsed_s=elapsed_s, key=key, tree_sha256=given.tree_sha256)
    return f"{stage.name} {task.steps_text() if context.state.step else words.duration(elapsed_s)}"


def _start(context: Context, stage: Stage) -> TaskRun:
    if stage.name and stage is context.loaded.manifest.every_stage[-1]:
        _log(context, stage)
    spec = containers.task_spec(context, stage, context.log)
    return TaskRun(context, context.engine.start(context.image, spec), spec, stage.name, _words(context, stage))


def _log(context: Context, stage: Stage) -> int:
    """Begin the stage's part of the log, and return where it begins."""
    with context.log.open("ab") as file:
        file.write(f"stage {_words(context, stage)}\n".encode())
    return _size(context.log)


def _words(context: Context, stage: Stage) -> str:
    """Return which stage of how many it is: "2 of 3, fine-tune"; nothing where there are none."""
    stages = context.loaded.manifest.every_stage
    names = [each.name for each in stages]
    return f"{names.index(stage.name) + 1} of {len(stages)}, {stage.name}" if stage.name else ""


def _tell(
    context: Context, stage: Stage, status: StageStatus | None = None, *, elapsed_s: float = 0.0, key: str = "",
    tree_sha256: str = "", run: str = "",
) -> None:  # fmt: skip
    names = [each.name for each in context.loaded.manifest.every_stage]
    now = time.time()
    context.emit(
        TaskStage(
            at=now, name=stage.name, place=names.index(stage.name) + 1, count=len(names), status=status,
            elapsed_s=round(elapsed_s, 3), key=key, tree_sha256=tree_sha256, run=run,
        )
    )  # fmt: skip
    if status is None:
        text = _words(context, stage)
        context.emit(StageProgress(at=now, stage=_STAGE, done=0, total=0, unit="steps", text=text))


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
