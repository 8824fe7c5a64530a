"""One line at the bottom to type what to find, or what to show only."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.screen import ModalScreen
from textual.widgets import Input, Label

from repro_tui.tui import actions


class FindScreen(ModalScreen[str | None]):
    """Returns what was typed, empty to have it undone, None where somebody thought better of it."""

    SCOPE = "find"
    CSS_PATH = Path(__file__).parents[1] / "styles" / "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(actions.bindings("find"))

    def __init__(self, what: str, before: str = "", hint: str = "") -> None:
        super().__init__()
        self._what = what
        self._before = before
        self._hint = hint

    def compose(self) -> ComposeResult:
        """Show the line."""
        with Horizontal(id="find"):
            yield Label(f" {self._what} ")
            yield Input(self._before, placeholder=self._hint, compact=True, select_on_focus=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take it."""
        self.dismiss(event.value)

    def action_close(self) -> None:
        """Leave everything as it was."""
        self.dismiss(None)
