"""Plain lines about a run, for logs and pipes: one for a stage's beginning and end, progress now and then."""

from __future__ import annotations

import time
from typing import Self

from repro_tui.cli import console
from repro_tui.events import (
    CancelRequested,
    CheckResult,
    CheckStatus,
    EngineChosen,
    Event,
    Notice,
    RunStarted,
    StageFinished,
    StageStarted,
    StageStatus,
    TaskStage,
)
from repro_tui.runs import words
from repro_tui.runs.state import RunState

_PROGRESS_INTERVAL_S = 10.0


class PlainReporter:
    """Says each event that a person wants to know of, in the order in which they came."""

    def __init__(self) -> None:
        self._progress_at = time.monotonic()
        self._pace = words.Pace()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is to be put away."""

    def event(self, event: Event) -> None:
        """Say it."""
        text = _text(event)
        if text:
            console.say(words.printable(text))
        if isinstance(event, StageStarted):
            self._progress_at = time.monotonic()

    def show(self, state: RunState) -> None:
        """Say how far the stage is, every ten seconds."""
        stage = state.current_stage
        now = time.monotonic()
        if stage is None:
            return
        left_s = self._pace.left_s(stage, now)
        if now - self._progress_at < _PROGRESS_INTERVAL_S:
            return
        self._progress_at = now
        text = words.progress(state, stage, left_s)
        if text:
            console.say(f"  {stage.name}: {text}")

    def message(self, text: str) -> None:
        """Say something that is no event."""
        console.say(text)


def _text(event: Event) -> str:
    match event:
        case RunStarted():
            return f"run {event.run_id}: {event.title}"
        case StageStarted():
            return f"{event.stage} …"
        case TaskStage():
            return f"  {words.task_stage(event)}"
        case EngineChosen():
            return f"  engine {event.engine} ({event.reason})"
        case CheckResult() if event.status is not CheckStatus.NOT_RUN:
            return f"  {words.check(event)}"
        case Notice():
            return words.notice(event)
        case CancelRequested():
            return f"  cancelled by {event.by}"
        case StageFinished() if event.status is not StageStatus.SKIPPED or event.detail:
            took = f" in {words.duration(event.elapsed_s)}" if event.elapsed_s else ""
            return f"{event.stage} {event.status.value}{took}" + (f": {event.detail}" if event.detail else "")
        case _:
            return ""
