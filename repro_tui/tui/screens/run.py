"""A run, live or not: stages, log, charts, gauges and checks, all of it read from the run directory."""

from __future__ import annotations

import os
import time
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer

from repro_tui.runs import words
from repro_tui.runs.directory import RunDirectory
from repro_tui.tui import actions
from repro_tui.tui.feed import Changed, RunFeed, Snapshot
from repro_tui.tui.widgets.checks import Checks, count
from repro_tui.tui.widgets.gauges import Gauges
from repro_tui.tui.widgets.gauges import strip as gauge_strip
from repro_tui.tui.widgets.header import Headline, headline
from repro_tui.tui.widgets.stages import Stages
from repro_tui.tui.widgets.stages import strip as stage_strip

PANES = ("stages", "resources", "checks")
WIDE, TALL = 100, 32
DRAW_S = 0.25
"""Between two drawings at least."""


class RunScreen(Screen[None]):
    """One run."""

    SCOPE = "run"
    BINDINGS: ClassVar[list[BindingType]] = list(actions.bindings("run"))
    AUTO_FOCUS = ""

    def __init__(self, run: RunDirectory) -> None:
        super().__init__()
        self.run = run
        self.feed = RunFeed(run, self)
        self.snapshot: Snapshot | None = None
        self._pace = words.Pace()
        self._pane = "stages"
        self._zoomed = False
        self._stale = True

    def compose(self) -> ComposeResult:
        """Show the panes; which of them, `_arrange` decides."""
        yield Headline(id="headline")
        yield Headline(id="stage-strip")
        with Horizontal(id="panes"):
            with Vertical(id="left"):
                yield Stages(id="stages")
                yield Gauges(id="resources", cpus=os.cpu_count() or 0, memory_bytes=_memory_bytes())
            with Vertical(id="right"):
                yield Checks(id="checks")
        yield Headline(id="gauge-strip")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to follow."""
        for place, pane in enumerate(PANES, start=1):
            widget = self.query_one(f"#{pane}")
            widget.add_class("pane")
            widget.border_title = f"{place} {pane.capitalize()}"
        self.feed.start()
        self.set_interval(DRAW_S, self._draw)
        self._arrange()
        self.query_one(f"#{self._pane}").focus()

    def on_unmount(self) -> None:
        """End the thread."""
        self.feed.stop()

    @on(Changed)
    def _take(self) -> None:
        self._stale = True

    def on_resize(self) -> None:
        """Choose the layout."""
        self._arrange()

    # --- drawing ----------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        """Show what is new; where nothing is, the clock only."""
        if self._stale or self.snapshot is None:
            self._stale = False
            self.snapshot = self.feed.snapshot()
            self._draw_state(self.snapshot)
        self._draw_head(self.snapshot)

    def _draw_head(self, snapshot: Snapshot) -> None:
        state, now = snapshot.state, time.time()
        stage = state.current_stage
        left_s = self._pace.left_s(stage, now) if stage is not None and snapshot.live else None
        line = headline(state, died=snapshot.died, now=now, left_s=left_s)
        self.query_one("#headline", Headline).show(line)
        self.query_one(Stages).show(state, now=now, died=snapshot.died)

    def _draw_state(self, snapshot: Snapshot) -> None:
        state = snapshot.state
        self.query_one("#stage-strip", Headline).show(stage_strip(state, died=snapshot.died))
        self.query_one(Gauges).show(state.resources, peak_bytes=state.peak_memory_bytes)
        checks = self.query_one(Checks)
        checks.show(list(state.checks.values()))
        checks.border_subtitle = count(list(state.checks.values()))
        tabs = "  ".join(f"{place} {pane}" for place, pane in enumerate(PANES, start=1))
        self.query_one("#gauge-strip", Headline).show(Text(f" {gauge_strip(state.resources)}  | {tabs}", no_wrap=True))

    @property
    def single(self) -> bool:
        """Say whether one pane has the whole screen: it is small, or zoomed."""
        return self._zoomed or self.size.width < WIDE or self.size.height < TALL

    def _arrange(self) -> None:
        """Show all panes, or one."""
        small = self.size.width < WIDE or self.size.height < TALL
        for pane in PANES:
            self.query_one(f"#{pane}").display = not self.single or pane == self._pane
        for side in ("left", "right"):
            box = self.query_one(f"#{side}")
            box.display = any(child.display for child in box.children)
            box.set_class(self.single, "-alone")
        for name in ("stage-strip", "gauge-strip"):
            self.query_one(f"#{name}").display = small

    # --- keys -------------------------------------------------------------------------------------------------------

    def action_pane(self, pane: str) -> None:
        """Go to a pane."""
        self._pane = pane
        self._arrange()
        self.query_one(f"#{pane}").focus()

    def action_zoom(self) -> None:
        """Give one pane the whole screen, or take it back."""
        focused = self.focused
        if focused is not None and focused.id in PANES:
            self._pane = focused.id
        self._zoomed = not self._zoomed
        self._arrange()

    def action_back(self) -> None:
        """Undo the zoom, or leave the screen."""
        if self._zoomed:
            self.action_zoom()
        elif len(self.app.screen_stack) > 2:
            self.app.pop_screen()


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
