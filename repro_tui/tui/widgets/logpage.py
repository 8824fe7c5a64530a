"""One screenful of a log as strips: pure functions of what is read, selected and searched for."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from repro_tui.runs.logreader import LogReader

MOST_MARKS = 200
"""Matches that are marked in one line."""

Drawn = list[tuple[int, Strip]]
"""What is on the screen: the row each line of it belongs to, and its picture."""


@dataclass(frozen=True, slots=True)
class Look:
    """The styles of the widget."""

    base: Style
    dim: Style
    match: Style
    selected: Style


@dataclass(frozen=True, slots=True)
class Page:
    """Draws rows of a log for a screen of this size."""

    reader: LogReader
    look: Look
    width: int
    height: int
    selection: tuple[int, int] | None = None
    ascii: bool = False

    def plain(self, top: int) -> Drawn:
        """Return the rows from one on, each in full on one line."""
        return [(row, self._strip(line, text)) for row, line, text in self._rows(top, self.height)]

    def wrapped(self, first: int, count: int) -> Drawn:
        """Return rows with as many lines as they take; of one larger than the screen what fits."""
        width = max(2, self.width)
        drawn: Drawn = []
        for row, line, text in self._rows(first, count):
            strip = self._strip(line, text)
            if strip.cell_length <= width:
                drawn.append((row, strip))
                continue
            cuts, at = [], 1
            for piece in chop_cells(text, width - 1)[: self.height]:
                at += cell_len(piece)
                cuts.append(at)
            pieces = list(strip.divide(cuts))[: len(cuts)]
            indent = Strip([Segment(" ", self.look.base)])
            drawn += [(row, piece if place == 0 else Strip.join([indent, piece])) for place, piece in enumerate(pieces)]
        return drawn

    def around(self, at: int) -> Drawn:
        """Return the wrapped rows around row `at`.

        How many lines a million rows take is not known, so one scrolls by rows: the first row is drawn at the top,
        the last at the bottom, and those between on the way.
        """
        last = len(self.reader) - 1
        at = min(at, last)
        above = self.wrapped(max(0, at - self.height), min(at, self.height))
        below = self.wrapped(at, self.height)
        own = sum(1 for row, _ in below if row == at)
        place = max(0, round(at / max(1, last) * (self.height - 1)) - own + 1)
        drawn = above + below
        first = min(len(above) - place, len(drawn) - self.height)
        return drawn[max(0, first) :][: self.height]

    def _rows(self, first: int, count: int) -> list[tuple[int, int, str]]:
        if count <= 0:
            return []
        texts = self.reader.rows(first, count)
        if self.ascii:
            texts = [text.encode("ascii", "replace").decode() for text in texts]
        return [(row, self.reader.line(row), text) for row, text in enumerate(texts, start=first)]

    def _strip(self, line: int, text: str) -> Strip:
        """Return a line in full, what was searched for marked; a selected one has a > before it."""
        low, high = sorted(self.selection) if self.selection is not None else (1, 0)
        selected = low <= line <= high
        base = self.look.base + self.look.selected if selected else self.look.base
        segments = [Segment(">" if selected else " ", base)]
        at = 0
        search = self.reader.search
        if search is not None:
            for start, end in search.query.spans(text)[:MOST_MARKS]:
                segments += [Segment(text[at:start], base), Segment(text[start:end], base + self.look.match)]
                at = end
        segments.append(Segment(text[at:], base))
        return Strip(segments)


def status(reader: LogReader, *, follow: bool, new: int, bottom: int, selection: tuple[int, int] | None) -> str:
    """Return where one is in a log, in words; `new` rows came since it was frozen, `bottom` is the last one seen."""
    rows, lines = len(reader), len(reader.index)
    parts = ["FOLLOW" if follow else f"+{new:,} new" if new > 0 else "FROZEN"]
    if selection is not None and selection[0] != selection[1]:
        parts.append(f"{abs(selection[1] - selection[0]) + 1:,} selected")
    kept = f"{reader.filter.count} kept of " if reader.filter is not None else ""
    place = "" if follow or kept or not rows else f"{min(rows, bottom + 1):,} of "
    parts.append(f"{kept}{place}{lines:,} {'line' if lines == 1 else 'lines'}")
    if reader.filter is not None:
        parts.append(f"filter {reader.filter.query}")
    if reader.search is not None:
        parts.append(reader.search.words(reader.index, selection[1] if selection is not None else -1))
    return "  ".join(parts)
