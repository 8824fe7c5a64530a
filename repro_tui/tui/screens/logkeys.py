"""What the keys of a run do to its log and its charts: find, filter, follow, copy, another metric."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from textual import work
from textual.screen import Screen

from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.logreader import BadPatternError
from repro_tui.tui import naming
from repro_tui.tui.screens.find import FindScreen
from repro_tui.tui.widgets.cause import CauseView
from repro_tui.tui.widgets.metrics import Metrics
from repro_tui.tui.widgets.stagelog import StageLog


class LogKeys(Screen[None]):
    """A screen with the log of a run, its charts, and why it failed."""

    run: RunDirectory
    stale = True
    """Something is to be drawn."""

    @abstractmethod
    def action_pane(self, pane: str) -> None:
        """Go to a pane."""

    @work
    async def action_find(self) -> None:
        """Ask what to find."""
        log = self.query_one(StageLog)
        said = await self.app.push_screen_wait(FindScreen("find", log.needle, "a text, or /a regular expression/"))
        self._in_log(said, log.look_for)

    @work
    async def action_filter(self) -> None:
        """Ask what to show only."""
        log = self.query_one(StageLog)
        said = await self.app.push_screen_wait(FindScreen("show only", log.sieve, "empty shows all lines"))
        self._in_log(said, log.keep)

    def _in_log(self, said: str | None, do: Callable[[str], None]) -> None:
        if said is None:
            return
        self.action_pane("log")
        try:
            do(said)
        except BadPatternError as error:
            self.notify(str(error), title="not a regular expression", severity="error", markup=False)

    def action_next(self) -> None:
        """Go to the next place found."""
        self.query_one(StageLog).find_next()

    def action_previous(self) -> None:
        """Go to the place found before."""
        self.query_one(StageLog).find_previous()

    def action_follow(self) -> None:
        """Follow the end of the log, or stand still."""
        log = self.query_one(StageLog)
        log.follow = not log.follow

    def action_top(self) -> None:
        """Go to the first line of the log."""
        self.query_one(StageLog).go_top()

    def action_bottom(self) -> None:
        """Go to the last line of the log."""
        self.query_one(StageLog).go_bottom()

    def action_wrap(self) -> None:
        """Wrap long lines, or cut them off."""
        log = self.query_one(StageLog)
        log.wrap = not log.wrap

    def action_next_metric(self) -> None:
        """Draw the next metric."""
        self.query_one(Metrics).step(1)
        self.stale = True

    def action_log_scale(self) -> None:
        """Draw on a logarithmic scale, or not."""
        chart = self.query_one(Metrics)
        chart.log_y = not chart.log_y

    def action_copy(self) -> None:
        """Copy lines of the log; on a run that failed, why it did and its command line before them."""
        count = self.query_one(StageLog).copy()
        why = self.query_one(CauseView).cause
        if why is not None:
            lines = self.app.clipboard if count else ""
            self.app.copy_to_clipboard(f"{why.text()}\n{naming.command(self.run)}\n\n{lines}")
        self.notify(f"{count} lines{' and why it failed' if why is not None else ''}", title="copied", timeout=2)
