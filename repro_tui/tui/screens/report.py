"""The report of a run, read without leaving the terminal."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Markdown, Static

from repro_tui.tui import actions
from repro_tui.tui.widgets.pins import plain


class ReportScreen(ModalScreen[None]):
    """Shows report.md; with ASCII only as the text that it is."""

    SCOPE = "report"
    BINDINGS: ClassVar[list[BindingType]] = list(actions.bindings("report"))
    CSS_PATH: ClassVar[list[str | PurePath]] = [
        Path(__file__).parents[1] / "styles" / name for name in ("dialogs.tcss", "verdict.tcss")
    ]

    def __init__(self, path: Path, text: str) -> None:
        super().__init__()
        self._path = path
        self._text = text

    def compose(self) -> ComposeResult:
        """Show the report in a box that scrolls."""
        with VerticalScroll(id="report", classes="dialog pane") as box:
            box.border_title = self._path.name
            box.border_subtitle = "esc closes"
            if getattr(self.app, "ascii", False):
                yield Static(plain(self._text, ascii_only=True), markup=False)
            else:
                yield Markdown(self._text, open_links=False)

    def on_mount(self) -> None:
        """Scroll with the keys at once."""
        self.query_one("#report").focus()

    def action_close(self) -> None:
        """Close."""
        self.dismiss()
