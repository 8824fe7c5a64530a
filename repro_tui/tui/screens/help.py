"""Help: what every key does on the screen below, the part that has the focus first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from repro_tui.tui import actions


class HelpScreen(ModalScreen[None]):
    """The key table, as far as it holds for `scope`; `first` is the group to lead with, `keys` a user's own by id."""

    SCOPE = "help"
    CSS_PATH = Path(__file__).parents[1] / "styles" / "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(actions.bindings("help"))

    def __init__(self, scope: str, first: str = "", keys: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._keys = keys or {}
        self._scope = scope
        self._first = first

    def compose(self) -> ComposeResult:
        """Show one table a group."""
        with VerticalScroll(id="help", classes="dialog pane") as box:
            box.border_title = "Help"
            box.border_subtitle = "esc closes"
            for name, found in actions.groups(self._scope, self._first):
                yield Static(Text(name, style="bold underline"))
                yield Static(self._table(found))

    def action_close(self) -> None:
        """Go back."""
        self.dismiss()

    def _table(self, found: list[actions.Action]) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(min_width=9, no_wrap=True)
        table.add_column(min_width=12, no_wrap=True)
        table.add_column()
        for action in found:
            keys = Text(actions.spelled(self._keys.get(action.id, action.keys)), style="bold")
            table.add_row(keys, action.label, action.help)
        return table
