"""The checks of a run as they come in: status in a word, observed beside expected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text
from textual.containers import VerticalScroll
from textual.widgets import Static

from repro_tui.events import CheckResult, CheckStatus
from repro_tui.runs import words
from repro_tui.tui.widgets.pins import plain

STYLES = {
    CheckStatus.MATCH: "green",
    CheckStatus.WITHIN_TOLERANCE: "green",
    CheckStatus.DIFFERS: "bold red",
    CheckStatus.UNVERIFIABLE: "yellow",
    CheckStatus.NOT_RUN: "dim",
}
"""Colour only repeats what the word says."""


def table(checks: Iterable[CheckResult], *, ascii_only: bool = False) -> Table:
    """Return the checks as a table: what differs stands where it stood, so that nothing jumps."""
    grid = Table.grid(padding=(0, 2))
    for ratio in (None, 3, 2, 2):
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=ratio, min_width=16 if ratio is None else None)
    grid.expand = True
    for check in checks:
        expected = f"{_value(check.expected)} {check.tolerance}".strip()
        grid.add_row(
            Text(check.status.value, style=STYLES[check.status]),
            *(
                Text(plain(cell, ascii_only=ascii_only))
                for cell in (
                    check.name + ("" if check.required else " (informs)"),
                    _value(check.observed) or "-",
                    f"expected {expected}" if expected else "",
                )
            ),
        )
    return grid


def count(checks: Sequence[CheckResult]) -> str:
    """Return how many checks came in, and how many of them do not hold."""
    made = [check for check in checks if check.status is not CheckStatus.NOT_RUN]
    bad = [check for check in made if check.status in {CheckStatus.DIFFERS, CheckStatus.UNVERIFIABLE}]
    return f"{len(made)} of {len(checks)} made" + (f", {len(bad)} not held" if bad else "")


def _value(value: str) -> str:
    try:
        return f"{float(value):.6g}" if "." in value else words.short(value)
    except ValueError:
        return words.short(value)


class Checks(VerticalScroll):
    """The checks; more than fit are scrolled to."""

    help_group = "Panes"

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(Static("no check yet", id=f"{id}-table"), id=id)
        self.ascii = False
        self._shown: list[CheckResult] = []

    def show(self, checks: Sequence[CheckResult]) -> None:
        """Show the checks, where one is another than before."""
        if list(checks) != self._shown:
            self._shown = list(checks)
            self.query_one(Static).update(table(checks, ascii_only=self.ascii))
