"""Plain lines about a run, for logs and pipes: one for a stage's beginning and end, progress now and then."""

from __future__ import annotations

import time
from typing import Self

from repro_tui.cli import console, words
from repro_tui.events import CheckStatus
from repro_tui.runs.state import RunState

_PROGRESS_INTERVAL_S = 10.0


class PlainReporter:
    """Says what is new since it was last shown the state."""

    def __init__(self) -> None:
        self._begun = False
        self._engine = False
        self._stages: dict[str, str] = {}
        self._checks: dict[str, CheckStatus] = {}
        self._notices = 0
        self._progress_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is to be put away."""

    def show(self, state: RunState) -> None:
        """Say what is new, in the order of a run."""
        if state.run_id and not self._begun:
            self._begun = True
            console.say(words.printable(f"run {state.run_id}: {state.title}"))
        self._say_begun(state)
        if state.engine is not None and not self._engine:
            self._engine = True
            console.say(words.printable(f"  engine {state.engine.engine} ({state.engine.reason})"))
        for result in state.checks.values():
            if result.status is not self._checks.get(result.name, CheckStatus.NOT_RUN):
                self._checks[result.name] = result.status
                console.say(f"  {words.check(result)}")
        for event in state.notices[self._notices :]:
            console.say(words.notice(event))
        self._notices = len(state.notices)
        self._say_ended(state)
        self._say_progress(state)

    def message(self, text: str) -> None:
        """Say something that is not in the state."""
        console.say(text)

    def _say_begun(self, state: RunState) -> None:
        for stage in state.stages.values():
            if stage.started_at is not None and stage.name not in self._stages:
                self._stages[stage.name] = "running"
                self._progress_at = time.monotonic()
                console.say(f"{stage.name} …")

    def _say_ended(self, state: RunState) -> None:
        for stage in state.stages.values():
            if stage.status is not None and self._stages.get(stage.name) != stage.status.value:
                self._stages[stage.name] = stage.status.value
                took = f" in {words.duration(stage.elapsed_s)}" if stage.elapsed_s else ""
                detail = f": {stage.detail}" if stage.detail else ""
                console.say(words.printable(f"{stage.name} {stage.status.value}{took}{detail}"))

    def _say_progress(self, state: RunState) -> None:
        stage = state.current_stage
        now = time.monotonic()
        if stage is None or now - self._progress_at < _PROGRESS_INTERVAL_S:
            return
        self._progress_at = now
        text = words.progress(state, stage, time.time())
        if text:
            console.say(f"  {stage.name}: {text}")
