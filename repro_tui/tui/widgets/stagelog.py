"""The logs of a run, one at a time: it goes with the stage that runs until somebody chooses another."""

from __future__ import annotations

from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.state import RunState
from repro_tui.tui.widgets.logcanvas import LogCanvas
from repro_tui.tui.widgets.logview import LogView

SHARED = {"evaluate": "train"}
"""Stages that have no container of their own, and whose log theirs is in."""
WORKER = "worker"


class StageLog(LogView):
    """The log of one stage, or of the worker."""

    def __init__(self, run: RunDirectory, *, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.stage = ""
        self.chosen = False
        self.needle = ""
        self.sieve = ""
        self._run = run
        self._stages: list[str] = []
        self.title = "Log"
        self.calm = False
        """Nobody does anything: what is new waits until `catch_up`."""
        self._waiting: LogCanvas.Grown | None = None

    def on_log_canvas_grown(self, message: LogCanvas.Grown) -> None:
        """Let what is new wait while nobody looks closely: drawing it ten times a second is most of what this costs."""
        if self.calm:
            message.prevent_default()
            message.stop()
            self._waiting = message

    def catch_up(self) -> None:
        """Draw what has waited."""
        message, self._waiting = self._waiting, None
        if message is not None:
            LogCanvas.on_log_canvas_grown(self, message)

    def show(self, state: RunState) -> None:
        """Take in which stages there are, and go with the one that runs."""
        self._stages = list(state.stages)
        stage = state.current_stage
        if self.chosen:
            return
        if stage is not None and (stage.name in SHARED or self._run.log(stage.name).exists()):
            self._open(stage.name)
        elif not self.stage and stage is None and self._stages:
            self._open(next((name for name in reversed(self._stages) if self._has_lines(name)), "train"))

    def choose(self, stage: str) -> None:
        """Show the log of a stage from now on."""
        self.chosen = True
        self._open(stage)

    def step(self, by: int) -> None:
        """Show the log of another stage that has one."""
        there = [name for name in (*self._stages, WORKER) if name not in SHARED and self._run.log(name).exists()]
        if there:
            own = SHARED.get(self.stage, self.stage)
            place = there.index(own) if own in there else -1
            self.choose(there[(place + by) % len(there)])

    def look_for(self, said: str) -> None:
        """Find a text, or what is between two slashes as a regular expression; nothing ends the search."""
        self.needle = said
        text, regex = _pattern(said)
        if said:
            self.find(text, regex=regex)
        else:
            self.clear_find()

    def keep(self, said: str) -> None:
        """Show only lines with a text, or with what is between two slashes; nothing shows all."""
        self.sieve = said
        text, regex = _pattern(said)
        if said:
            self.filter(text, regex=regex)
        else:
            self.clear_filter()

    def _open(self, stage: str) -> None:
        if stage == self.stage:
            return
        self.stage = stage
        name = SHARED.get(stage, stage)
        self.border_title = f"{self.title}: {name}"
        self.open(
            self._run.log(name),
            missing=f"There is no log of {name}.",
            empty=f"{name} has written nothing to its log.",
        )

    def _has_lines(self, stage: str) -> bool:
        try:
            return self._run.log(stage).stat().st_size > 0
        except OSError:
            return False


def _pattern(said: str) -> tuple[str, bool]:
    """Return what to look for, and whether it is a regular expression."""
    if len(said) > 2 and said.startswith("/") and said.endswith("/"):
        return said[1:-1], True
    return said, False
