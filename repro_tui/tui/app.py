"""The app: what it was opened with, which screens there are, and what holds on all of them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, ClassVar

from textual import events, work
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.filter import LineFilter
from textual.screen import Screen
from textual.scrollbar import ScrollBar, ScrollBarRender

from repro_tui.errors import ReproError
from repro_tui.events import Verdict
from repro_tui.runs.directory import RunDirectory
from repro_tui.tui import actions, settings, terminal
from repro_tui.tui.plain import Ascii
from repro_tui.tui.settings import Settings

STYLES = Path(__file__).parent / "styles"
SETTLED_S = 1.0
"""By then the first picture is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What to show first: a run, a manifest, or the manifests of a folder (all None: those of ./manifests).

    `mirrors`, `offline`: how a manifest is run that came in a bundle.
    """

    runs: Path
    run: RunDirectory | None = None
    manifest: Path | None = None
    folder: Path | None = None
    mirrors: tuple[Path, ...] = ()
    offline: bool = False


class AsciiScrollBar(ScrollBarRender):
    """A scrollbar without half blocks at its ends."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * 8
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "] * 8


class ReproApp(App[str], inherit_bindings=False):
    """The terminal UI; what it returns is said on the terminal after it has left."""

    TITLE = "repro-tui"
    BINDINGS: ClassVar[list[BindingType]] = list(actions.bindings("app"))
    CSS_PATH: ClassVar[str | PurePath | None] = STYLES / "app.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 - the base class has no ClassVar
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012
    COMMAND_PALETTE_BINDING = "f24"  # ours is in the key table

    def __init__(self, opening: Opening, preferences: Settings | None = None) -> None:
        super().__init__()
        self.opening = opening
        self.touched_at = time.monotonic()
        self.preferences = preferences if preferences is not None else settings.read()

    @property
    def ascii(self) -> bool:
        """Say whether only ASCII is drawn: asked for, or colours are off."""
        return self.preferences.ascii

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return what every line goes through on its way to the screen."""
        return [*super().get_line_filters(), *([Ascii()] if self.ascii else [])]

    def on_load(self) -> None:
        """Settle how everything looks, before the first screen is made."""
        ScrollBar.renderer = AsciiScrollBar if self.ascii else ScrollBarRender
        self.set_class(self.ascii, "-ascii", update=False)
        if self.preferences.theme in self.available_themes and self.preferences.theme != self.theme:
            self.theme = self.preferences.theme
        if self.preferences.keys:
            self.set_keymap(self.preferences.keys)

    def get_default_screen(self) -> Screen[Any]:
        """Return what was asked for: as the app's own first screen there is nothing below it to compose and draw."""
        screen = self._first_screen()
        self.load_styles(screen)
        # every screen that is pushed has a place for its answer, and `switch_screen` takes it away
        screen._push_result_callback(screen, None)  # noqa: SLF001
        return screen

    def _first_screen(self) -> Screen[Any]:
        opening = self.opening
        if opening.run is not None:
            from repro_tui.tui.screens.run import RunScreen

            return RunScreen(opening.run)
        if opening.manifest is not None:
            from repro_tui.tui.screens.plan import PlanScreen

            return PlanScreen(opening.manifest, mirrors=opening.mirrors, offline=opening.offline)
        from repro_tui.tui.screens.home import HomeScreen

        return HomeScreen()

    def on_mount(self) -> None:
        """Say what is wrong with the settings; live with what terminals do."""
        for problem in self.preferences.problems:
            self.notify(problem, title="settings", severity="warning")
        self._survive_the_terminal()
        # the terminal was the shell's: nothing of what was drawn is there any more
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(layout=True))
        self.set_timer(SETTLED_S, terminal.settle)

    async def on_event(self, event: events.Event) -> None:
        """Remember when somebody last did something: what nobody looks at closely is drawn less often."""
        if isinstance(event, events.InputEvent):
            self.touched_at = time.monotonic()
        await super().on_event(event)

    @property
    def crash(self) -> Exception | None:
        """What ended the app where that was a fault of ours."""
        return self._exception

    def _fatal_error(self) -> None:
        """Leave without Textual's own report, which shows the value of every variable: the command line tells it."""
        self._close_messages_no_wait()

    def _survive_the_terminal(self) -> None:
        """Leave in order when the terminal goes, or somebody ends us: runs are processes of their own and go on."""
        loop = asyncio.get_running_loop()
        with suppress(RuntimeError, ValueError):  # not the main thread, in tests
            loop.add_signal_handler(signal.SIGTERM, self.exit)
            # a terminal that is gone takes nothing any more: nothing to restore, nothing to write
            loop.add_signal_handler(signal.SIGHUP, os._exit, 128 + signal.SIGHUP)

    # --- styles -------------------------------------------------------------------------------------------------------

    def load_styles(self, screen: Screen[Any]) -> None:
        """Read the styles of a screen, once.

        Textual would parse those of all screens again with them, and apply them to what is on the screen, of which
        they say nothing.
        """
        new = [path for path in screen.css_path if not self.stylesheet.has_source(str(path), "")]
        if new:
            self.stylesheet.read_all(new)
            self.stylesheet.parse()

    def get_screen(self, screen: Any, screen_class: Any = None) -> Any:
        """Return a screen that is about to be shown, its styles read."""
        found: Screen[Any] = super().get_screen(screen, screen_class)
        self.load_styles(found)
        return found

    # --- screens ------------------------------------------------------------------------------------------------------

    def show_home(self) -> None:
        """Show manifests and runs."""
        from repro_tui.tui.screens.home import HomeScreen

        self.push_screen(HomeScreen())

    def show_plan(self, manifest: Path, *, mirrors: tuple[Path, ...] = (), offline: bool = False) -> None:
        """Show what a run of a manifest would do; `mirrors` are folders that serve it besides those of this host."""
        from repro_tui.tui.screens.plan import PlanScreen

        self.push_screen(PlanScreen(manifest, mirrors=mirrors, offline=offline))

    def show_run(self, run: RunDirectory) -> None:
        """Show a run, live or not."""
        from repro_tui.tui.screens.run import RunScreen

        self.push_screen(RunScreen(run))

    def open_run(self, run: RunDirectory, status: str) -> None:
        """Show how a run ended, or the run where it goes on or never came to a verdict."""
        if status in {verdict.value for verdict in Verdict}:
            self.show_verdict(run)
        else:
            self.show_run(run)

    def show_verdict(self, run: RunDirectory) -> None:
        """Show how a run ended."""
        from repro_tui.tui.screens.verdict import VerdictScreen

        self.push_screen(VerdictScreen(run))

    def show_compare(self, left: RunDirectory, right: RunDirectory) -> None:
        """Show two runs side by side."""
        from repro_tui.tui.screens.compare import CompareScreen

        self.push_screen(CompareScreen(left, right))

    @work
    async def rerun(self, run: RunDirectory) -> None:
        """Start a run again with the options it had, from its manifest as it is now; an error is shown instead.

        A series that did not come to its end can go on instead.
        """
        from repro_tui.tui import starting

        start = starting.rerun
        if starting.can_go_on(run):
            from repro_tui.tui.screens.confirm import Answer, ConfirmScreen

            question = "The series did not come to its end. Going on keeps the seeds that did, and runs the others."
            answers = (Answer("on", "Go on with it"), Answer("new", "New series"))
            said = await self.push_screen_wait(ConfirmScreen("Rerun", question, answers))
            if said is None:
                return
            start = starting.resume if said == "on" else starting.rerun
        try:
            started = start(run)
        except ReproError as error:
            self.explain(error)
            return
        if started == run:  # what is in front shows its first attempt
            while getattr(self.screen, "run", None) == run and len(self.screen_stack) > 1:
                self.pop_screen()
        self.show_run(started)

    def explain(self, error: ReproError) -> None:
        """Show an error as what, where and what to do."""
        parts = [
            error.message,
            f"where: {error.where}" if error.where else "",
            f"hint: {error.hint}" if error.hint else "",
        ]
        self.notify(
            "\n".join(part for part in parts if part), title="error", severity="error", timeout=20, markup=False
        )

    # --- keys that hold everywhere ------------------------------------------------------------------------------------

    def action_help(self) -> None:
        """Show the keys of what is in front."""
        from repro_tui.tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            focused = self.focused
            group = next((str(node.help_group) for node in _upwards(focused) if hasattr(node, "help_group")), "")
            self.push_screen(HelpScreen(scope_of(self.screen), group, self.preferences.keys))

    def action_leave(self) -> None:
        """Leave; a screen that has something to ask first has a `leave` of its own."""
        getattr(self.screen, "leave", self.exit)()

    def action_next_theme(self) -> None:
        """Use the next theme."""
        names = sorted(self.available_themes)
        place = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(place + 1) % len(names)]
        self.preferences.theme = self.theme
        try:
            settings.write(self.preferences)
        except OSError as error:
            self.notify(f"not kept: {error}", severity="warning")
        else:
            self.notify(self.theme, title="theme", timeout=2)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Yield what the palette offers: what is in the key table and can be done now."""
        for action in (*actions.on(scope_of(screen)), *actions.on("app")):
            node: Screen[Any] | App[Any] = screen if hasattr(screen, f"action_{_method(action)}") else self
            if action.palette and node.check_action(_method(action), ()) is True:
                keys = actions.spelled(self.preferences.keys.get(action.id, action.keys))
                yield SystemCommand(action.label, f"{action.help} ({keys})", _doing(node, action.action))


def scope_of(screen: Screen[Any]) -> str:
    """Return the name that the key table has for a screen."""
    return str(getattr(screen, "SCOPE", ""))


def _method(action: actions.Action) -> str:
    return action.action.partition("(")[0]


def _doing(node: Screen[Any] | App[Any], action: str) -> Any:
    async def do() -> None:
        await node.run_action(action)

    return do


def _upwards(node: Any) -> Iterable[Any]:
    while node is not None:
        yield node
        node = node.parent
