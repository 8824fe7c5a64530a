"""A run, live or not: stages, log, charts, gauges and checks, all of it read from the run directory."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from rich.style import Style
from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import OptionList

from repro_tui.errors import ReproError
from repro_tui.events import Verdict
from repro_tui.runs import words
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.state import RunState
from repro_tui.tui import actions, naming, pinned
from repro_tui.tui.feed import Changed, RunFeed, Snapshot
from repro_tui.tui.screens.confirm import Answer, ConfirmScreen
from repro_tui.tui.screens.logkeys import LogKeys
from repro_tui.tui.seeds import WAITING
from repro_tui.tui.seeds import count as ended_of
from repro_tui.tui.widgets.cause import CauseView, cause
from repro_tui.tui.widgets.checks import Checks, count
from repro_tui.tui.widgets.gauges import Gauges
from repro_tui.tui.widgets.gauges import strip as gauge_strip
from repro_tui.tui.widgets.header import Headline, badge, headline
from repro_tui.tui.widgets.keyline import KeyLine
from repro_tui.tui.widgets.metrics import Metrics
from repro_tui.tui.widgets.seeds import Seeds
from repro_tui.tui.widgets.stagelog import StageLog
from repro_tui.tui.widgets.stages import Stages
from repro_tui.tui.widgets.stages import strip as stage_strip

if TYPE_CHECKING:
    from repro_tui.tui.app import ReproApp

PANES: tuple[str, ...] = ("stages", "log", "metrics", "resources", "checks")
OF_A_SERIES: tuple[str, ...] = (*PANES, "seeds")
SHORT = {"resources": "res"}
WIDE, TALL = 100, 32
DRAW_S, CALM_HEAD_S, CALM_S = 0.25, 1.0, 2.0
"""Between two drawings; of the first line and of the rest when nobody has done anything for `CALM_AFTER_S`."""
CALM_AFTER_S = 5.0


class RunScreen(LogKeys):
    """One run. Small terminals show one pane, large ones all of them."""

    SCOPE = "run"
    CSS_PATH = Path(__file__).parents[1] / "styles" / "run.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(actions.bindings("run"))
    AUTO_FOCUS = ""

    def __init__(self, run: RunDirectory) -> None:
        super().__init__()
        self.run = run
        self.feed = RunFeed(run, self)
        self.snapshot: Snapshot | None = None
        self.pinned: pinned.Pinned | None = None
        self._pace = words.Pace()
        self._pane = "log"
        self._panes = PANES
        self.series = run.series
        """The series that this is one seed of."""
        self._zoomed = False
        self._was_live = False
        self._led_to_failure = False
        self._drawn_at = self._headed_at = 0.0

    def compose(self) -> ComposeResult:
        """Show the panes; which of them, `_arrange` decides."""
        yield Headline(id="headline")
        yield Headline(id="stage-strip")
        yield CauseView(id="cause")
        with Horizontal(id="panes"):
            with Vertical(id="left"):
                yield Stages(id="stages")
                yield Seeds(id="seeds")
                yield Gauges(id="resources")
            with Vertical(id="right"):
                yield Metrics(id="metrics")
                yield StageLog(self.run, id="log")
                yield Checks(id="checks")
        yield Headline(id="gauge-strip")
        yield KeyLine()

    def on_mount(self) -> None:
        """Begin to follow."""
        for place, pane in enumerate(OF_A_SERIES, start=1):
            widget = self.query_one(f"#{pane}")
            widget.add_class("pane")
            widget.border_title = f"{place} {pane.capitalize()}"
        log = self.query_one(StageLog)
        log.title = str(log.border_title)
        chart = self.query_one(Metrics)
        chart.heading = str(chart.border_title)
        log.ascii = chart.ascii = self.query_one(Checks).ascii = self.query_one(Seeds).ascii = self._app.ascii
        for line in self.query(Headline):
            line.ascii = self._app.ascii
        self.feed.start()
        self.set_interval(DRAW_S, self._draw)
        self.call_after_refresh(self._read_manifest)
        self._arrange()
        self.query_one(f"#{self._pane}").focus()

    def on_unmount(self) -> None:
        """End the thread."""
        self.feed.stop()

    @work(thread=True)
    def _read_manifest(self) -> None:
        """Read what is expected; in a thread, because what checks a manifest takes a moment to load."""
        self.post_message(pinned.PinsRead(pinned.read(self.run)))

    def on_pins_read(self, message: pinned.PinsRead) -> None:
        """Take in what is expected; where the screen is being left meanwhile, there is no chart any more."""
        self.pinned = message.pinned
        for chart in self.query(Metrics):
            chart.bands = message.pinned.bands
        self.stale = True

    @on(Changed)
    def _take(self) -> None:
        self.stale = True
        if self.snapshot is None:  # somebody waits for the first picture
            self._draw()

    def on_resize(self) -> None:
        """Choose the layout."""
        self._arrange()

    @property
    def _app(self) -> ReproApp:
        return cast("ReproApp", self.app)

    @property
    def settled(self) -> bool:
        """Say whether all there is to read was read and is drawn."""
        log, read = (
            self.query_one(StageLog),
            self.snapshot is not None and self.feed.caught_up and self.pinned is not None,
        )
        known = read and self.pinned is not None and not self.stale
        return known and log.settled and self.query_one(Metrics).settled

    # --- drawing ------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> RunState:
        """Return the run as it was last drawn."""
        return self.snapshot.state if self.snapshot is not None else RunState()

    @property
    def live(self) -> bool:
        """Say whether the run may go on."""
        return self.snapshot is not None and self.snapshot.live

    def _draw(self) -> None:
        """Show what is new; where nothing is, the clock only."""
        now, log = time.monotonic(), self.query_one(StageLog)
        calm = now - self._app.touched_at > CALM_AFTER_S
        settled = calm and log.calm
        log.calm = self.feed.calm = calm
        if not settled or now - self._drawn_at >= CALM_S - DRAW_S / 2:
            self._drawn_at = now
            log.catch_up()
            if self.stale or self.snapshot is None:
                self.stale = False
                self.snapshot = self.feed.snapshot()
                self._draw_state(self.snapshot)
        if self.snapshot is not None and (not settled or now - self._headed_at >= CALM_HEAD_S - DRAW_S / 2):
            self._headed_at = now
            self._draw_head(self.snapshot)

    def _draw_head(self, snapshot: Snapshot) -> None:
        state, now = snapshot.state, time.time()
        stage = state.current_stage
        left_s = self._pace.left_s(stage, now) if stage is not None and snapshot.live else None
        extra = badge(snapshot.state, now=now, heard_at=self.feed.heard_at, cancelled_at=self._cancelled_at(snapshot))
        seed = "" if self.series is None else self.run.path.name
        line = headline(
            state, died=snapshot.died, now=now, left_s=left_s, extra=extra if snapshot.live else "", seed=seed
        )
        self.query_one("#headline", Headline).show(line)
        self.query_one(Stages).show(state, now=now, died=snapshot.died)

    def _cancelled_at(self, snapshot: Snapshot) -> float | None:
        try:
            return (self.series or self.run).cancel_file.stat().st_mtime if snapshot.live else None
        except OSError:
            return None

    def _draw_state(self, snapshot: Snapshot) -> None:
        state = snapshot.state
        log = self.query_one(StageLog)
        log.show(state)
        self.query_one("#stage-strip", Headline).show(stage_strip(state, died=snapshot.died, chosen=log.stage))
        pins, live = (
            self.pinned or pinned.Pinned(),
            snapshot.live,
        )  # of a run that is over, this host may not be the host
        self.query_one(Gauges).show(
            state.resources, peak_bytes=state.peak_memory_bytes, cpus=pins.cpus or (os.cpu_count() if live else None),
            memory_bytes=pins.memory_bytes or (_memory_bytes() if live else None),
        )  # fmt: skip
        checks = self.query_one(Checks)
        checks.show(list(state.checks.values()))
        checks.border_subtitle = count(list(state.checks.values()))
        self._show_seeds(snapshot)
        self.query_one("#gauge-strip", Headline).show(_bottom(state, self._pane, self._panes))
        self.query_one(Metrics).show_state(state)
        self._turn(snapshot)

    def _show_seeds(self, snapshot: Snapshot) -> None:
        """Show the seeds of a series; who has not gone elsewhere yet begins there."""
        if not snapshot.seeds:
            return
        seeds = self.query_one(Seeds)
        seeds.show(snapshot.seeds)
        seeds.border_subtitle = ended_of(snapshot.seeds)
        if self._panes is not OF_A_SERIES:
            self._panes = OF_A_SERIES
            self._arrange()
            self.refresh_bindings()
            if self.focused is self.query_one("#log"):
                self.action_pane("seeds")

    def _turn(self, snapshot: Snapshot) -> None:
        """Do what is due when the run has just ended, or is found to have."""
        if snapshot.live:
            if not self._was_live:
                self._was_live = True
                self.refresh_bindings()
            return
        why = cause(snapshot.state, died=snapshot.died)
        self.query_one(CauseView).show(why)
        if why is not None and not self._led_to_failure:
            self._led_to_failure = True
            self.action_error()
        if self._was_live:
            self._was_live = False
            if why is None and snapshot.state.verdict is not Verdict.CANCELLED and self.is_current:
                self.action_verdict()
        self.refresh_bindings()

    @property
    def _small(self) -> bool:
        return self.size.width < WIDE or self.size.height < TALL

    def _arrange(self) -> None:
        """Show all panes, or one: where the screen is small, or one is zoomed."""
        single = self._zoomed or self._small
        for pane in OF_A_SERIES:
            shown = pane in self._panes and (not single or pane == self._pane)
            self.query_one(f"#{pane}").display = shown
        for side in ("left", "right"):
            box = self.query_one(f"#{side}")
            box.display = any(child.display for child in box.children)
            box.set_class(single, "-alone")
        for name in ("stage-strip", "gauge-strip"):
            self.query_one(f"#{name}").display = self._small
        self.query_one("#gauge-strip", Headline).show(_bottom(self.state, self._pane, self._panes))

    # --- keys: where to look ------------------------------------------------------------------------------------------

    def action_pane(self, pane: str) -> None:
        """Go to a pane."""
        self._pane = pane
        self._arrange()
        self.query_one(f"#{pane}").focus()

    def action_zoom(self) -> None:
        """Give one pane the whole screen, or take it back."""
        focused = self.focused
        if focused is not None and focused.id in self._panes:
            self._pane = focused.id
        self._zoomed = not self._zoomed
        self._arrange()

    def action_back(self) -> None:
        """Undo the zoom, or leave the screen."""
        if self._zoomed:
            self.action_zoom()
        elif len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    def action_stage(self, stage: str) -> None:
        """Show the log of a stage."""
        self.query_one(Stages).choose(stage)
        self.query_one(StageLog).choose(stage)
        self.stale = True

    def action_seeds(self) -> None:
        """Go to the seeds of a series."""
        self.action_pane("seeds")

    @on(OptionList.OptionSelected, "#seeds")
    def _seed_chosen(self, event: OptionList.OptionSelected) -> None:
        chosen = self.query_one(Seeds).lines[event.option_index]
        if chosen.word == WAITING:
            self.notify(f"seed {chosen.name} has not begun", timeout=3)
        else:
            self._app.open_run(chosen.run, chosen.word)

    @on(OptionList.OptionSelected, "#stages")
    def _stage_chosen(self, event: OptionList.OptionSelected) -> None:
        if event.option_id:
            self.action_stage(event.option_id)
            self.action_pane("log")

    def action_stage_log(self, by: int) -> None:
        """Show the log before or after."""
        self.query_one(StageLog).step(by)
        self.query_one(Stages).choose(self.query_one(StageLog).stage)
        self.stale = True

    def action_error(self) -> None:
        """Go to the first error."""
        why = self.query_one(CauseView).cause
        if why is not None and why.stage:
            self.action_stage(why.stage)
        self.action_pane("log")
        self.query_one(StageLog).find_errors()

    # --- keys: the run ------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's shape
        """Say what can be done now."""
        if action == "cancel":
            return self.live
        if action == "seeds":
            return self._panes is OF_A_SERIES
        if action == "zoom":
            return self._zoomed or not self._small
        if action in {"rerun", "verdict"}:
            return self.snapshot is not None and not self.live
        return True

    @work
    async def action_cancel(self) -> None:
        """Ask the run to stop; asked again, it is killed."""
        again = self._asked_to_stop
        question = (
            "It was asked to stop and has not yet. Kill it now?"
            if again
            else "The training has 10 s to end by itself, then it is killed. What it has made so far is kept."
        )
        if self._of_a_series and not again:
            question = (
                "All seeds of the series are asked to stop: no verdict leaves one out. Each has 10 s to end by itself; "
                "finished ones are kept, and r goes on with the others."
            )
        cancel = "Cancel all seeds" if self._of_a_series else "Cancel the run"
        answers = (Answer("stay", "Go on"), Answer("cancel", "Kill it" if again else cancel))
        if await self.app.push_screen_wait(ConfirmScreen("Cancel", question, answers)) == "cancel":
            self._request_cancel(now=again)

    @property
    def _of_a_series(self) -> bool:
        return self.series is not None or self._panes is OF_A_SERIES

    @property
    def _asked_to_stop(self) -> bool:
        return (self.series or self.run).cancel_requested() is not None

    def _request_cancel(self, *, now: bool = False) -> None:
        try:
            (self.series or self.run).request_cancel("the terminal UI", now=now)
        except ReproError as error:
            self._app.explain(error)

    @work
    async def leave(self) -> None:
        """Leave; while the run goes on, ask what is to become of it."""
        if not self.live:
            self.app.exit()
            return
        question = "The run goes on without this screen; you can come back to it at any time."
        cancel = Answer("cancel", "Cancel all seeds" if self._of_a_series else "Cancel the run")
        answers = (Answer("detach", "Detach"), cancel, Answer("stay", "Stay"))
        said = await self.app.push_screen_wait(ConfirmScreen("Leave", question, answers))
        if said == "detach":
            self.app.exit(f"the run goes on; follow it with:  repro-tui attach {naming.name(self.run)}")
        elif said == "cancel":
            self._request_cancel()

    def action_rerun(self) -> None:
        """Start the same run again."""
        self._app.rerun(self.run)

    def action_verdict(self) -> None:
        """Show how the run ended."""
        self._app.show_verdict(self.run)


def _bottom(state: RunState, pane: str, panes: tuple[str, ...]) -> Text:
    """Return the line above the footer of a small terminal: which pane has which key, and the gauges."""
    line = Text(no_wrap=True, overflow="ellipsis")
    for place, name in enumerate(panes, start=1):
        style = Style(reverse=name == pane, meta={"@click": f"screen.pane({name!r})"})
        line.append(" ")
        line.append(f"{place} {SHORT.get(name, name)}", style=style)
    return line.append(f" | {gauge_strip(state.resources)}" if state.resources is not None else "")


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
