"""Tables of plain data: pins, needs, checks, comparisons. No lines are drawn: the same with and without colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.widgets import Static

from repro_tui.runs.words import printable

_ASCII = str.maketrans({"…": "...", "±": "+-", "→": "->", "·": "-", "°": " deg", "µ": "u"})

STYLES = {
    "match": "green", "within tolerance": "green", "differs": "bold red", "unverifiable": "yellow", "not run": "dim",
    "cached": "green", "beside the manifest": "green", "in a mirror": "green", "to fetch": "yellow",
    "to build": "yellow", "REPRODUCED": "bold green", "METRICS DIFFER": "bold red", "ENVIRONMENT DRIFT": "bold red",
    "INCONCLUSIVE": "bold yellow", "FAILED": "bold red", "CANCELLED": "bold yellow", "running": "bold",
    "starting": "bold", "died": "bold red", "broken": "red",
    "FAULTY": "bold red", "NOT LOCKED": "bold yellow", "DIED": "bold red", "never run": "dim",
    "ok": "green", "problem": "bold yellow",
}  # fmt: skip
"""Colour only repeats what the word says."""


def plain(text: str, *, ascii_only: bool) -> str:
    """Return text that cannot steer a terminal; with `ascii_only` every character is one of ASCII."""
    text = printable(text)
    return text.translate(_ASCII).encode("ascii", "replace").decode() if ascii_only else text


def sheet(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, ascii_only: bool, right: Sequence[int] = ()
) -> Table:
    """Return a table; a cell that is a known word has its colour. `right`: columns that are aligned there."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=any(columns))
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell, ascii_only=ascii_only), style=STYLES.get(cell, "")) for cell in row))
    return table


def grouped(rows: Iterable[tuple[str, str, str]]) -> Iterable[tuple[str, str, str]]:
    """Yield rows with the name of a group in its first row only."""
    last = ""
    for group, name, value in rows:
        yield "" if group == last else group, name, value
        last = group


class Sheet(Static):
    """A titled table in a frame, as high as it needs to be."""

    DEFAULT_CSS = "Sheet { height: auto; padding: 0 1; }"

    def __init__(self, title: str, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__("", id=id, classes="pane")
        self.border_title = title

    def fill(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        right: Sequence[int] = (),
        notes: Iterable[str] = (),
    ) -> None:
        """Show a table, and notes below it."""
        table = sheet(columns, rows, ascii_only=self.ascii_only, right=right)
        told = [Text(plain(note, ascii_only=self.ascii_only)) for note in notes]
        self.update(Group(table, *told) if told else table)

    def say(self, text: str, style: str = "") -> None:
        """Show words in place of a table."""
        self.update(Text(plain(text, ascii_only=self.ascii_only), style=style))

    @property
    def ascii_only(self) -> bool:
        """Say whether the app draws ASCII only."""
        return bool(getattr(self.app, "ascii", False))
