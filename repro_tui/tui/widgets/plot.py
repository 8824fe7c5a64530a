"""A chart of one or several series against the step, as characters: pure functions, their pictures are in the tests.

The dots of a column go from the lowest to the highest value in it, so a spike is seen however many steps there are.
What is no number leaves a gap. In braille the first curve is solid and the others have gaps of their own; in ASCII
each has its own mark: the caption says which, so that no colour is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from rich.cells import set_cell_size

from repro_tui.runs.words import printable

Run = tuple[str, str]
"""Characters, and what they are a part of: title, axis, band, expected, curve0 to curve3."""

MARKS = "#*+o"
PATTERNS = ("solid", "dashed", "dotted", "sparse")
_DRAWN = ((1, 1), (3, 5), (1, 2), (1, 4))  # of so many columns the first so many
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800


class Expected(Protocol):
    """An expected value and what is still the same; an open end is infinite."""

    @property
    def value(self) -> float:
        """The value."""

    @property
    def low(self) -> float:
        """The lowest that is still the same."""

    @property
    def high(self) -> float:
        """The highest."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A named series of (step, value), by rising step."""

    name: str
    points: Sequence[tuple[float, float]]


def number(value: float) -> str:
    """Return a value for people."""
    return f"{value:.4g}"


def caption(
    curves: Sequence[Curve],
    *,
    band: Expected | None = None,
    log: bool = False,
    ascii: bool = False,  # noqa: A002
) -> str:
    """Return what stands above a chart: each curve with its newest value, what is expected, what cannot be drawn."""
    told = []
    for place, curve in enumerate(curves[: len(MARKS)]):
        mark = f" ({MARKS[place] if ascii else PATTERNS[place]})" if len(curves) > 1 else ""
        told.append(f"{curve.name}{mark} {number(curve.points[-1][1]) if curve.points else '-'}")
    if len(curves) > len(MARKS):
        told.append(f"{len(curves) - len(MARKS)} more not drawn")
    parts = [", ".join(told)]
    if len(curves) == 1 and curves[0].points:
        parts[0] += f" at step {curves[0].points[-1][0]:g}"
    if band is not None:
        parts.append(f"expected {number(band.value)}{_tolerance(band, '+-' if ascii else '±')}")
    if log:
        parts.append("log-y")
    values = [value for curve in curves for _, value in curve.points]
    if lost := sum(1 for value in values if not math.isfinite(value)):
        parts.append(f"{lost} not finite")
    if log and (lost := sum(1 for value in values if math.isfinite(value) and value <= 0)):
        parts.append(f"{lost} not above zero")
    return printable("; ".join(parts)).replace("\n", " ")


def _tolerance(band: Expected, either: str) -> str:
    if math.isinf(band.low) and math.isinf(band.high):
        return ""
    if math.isinf(band.high):
        return " or more" if band.low == band.value else f", at least {number(band.low)}"
    if math.isinf(band.low):
        return " or less" if band.high == band.value else f", at most {number(band.high)}"
    return f" {either} {number((band.high - band.low) / 2)}" if band.high > band.low else ""


@dataclass(frozen=True, slots=True)
class _Axis:
    """From a value to where it is: 0 at the low end, 1 at the high one; None where it is nowhere."""

    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float | None:
        if not math.isfinite(value) or (self.log and value <= 0):
            return None
        value = math.log10(value) if self.log else value
        # halves, so that the distance of the largest numbers is no infinity
        return (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)

    def value(self, place: float) -> float:
        at = self.low * (1 - place) + self.high * place
        return 10 ** min(max(at, -307.0), 308.0) if self.log else at


def _axis(values: Sequence[float], *, log: bool) -> _Axis | None:
    """Return an axis that has all of the values on it; None where there is none of them."""
    kept = [math.log10(value) if log else value for value in values if math.isfinite(value) and (value > 0 or not log)]
    if not kept:
        return None
    low, high = min(kept), max(kept)
    if high <= low:
        room = abs(low) * 0.05 or 1.0
        low, high = low - room, high + room
    return _Axis(low, high, log)


def _labels(axis: _Axis, places: Sequence[float]) -> list[str]:
    """Return the labels at some places, with as many digits as tell them apart."""
    labels: list[str] = []
    for digits in (3, 4, 5, 6, 7):
        labels = [f"{axis.value(place):.{digits}g}" for place in places]
        if len(set(labels)) == len(labels):
            break
    return labels


class _Canvas:
    """Cells with dots in them, two by four in braille, one in ASCII."""

    def __init__(self, width: int, height: int, *, ascii: bool) -> None:  # noqa: A002 - it is called so everywhere
        self.ascii = ascii
        self.across, self.down = (1, 1) if ascii else (2, 4)
        self.width, self.height = width * self.across, height * self.down
        self.cells = [[0] * width for _ in range(height)]
        self.parts = [[""] * width for _ in range(height)]

    def fill(self, x: int, one: int, other: int, curve: int) -> None:
        """Set the dots of a column from one to the other; short strokes are left out where the curve has its gaps."""
        low, high = sorted((one, other))
        drawn, of = _DRAWN[curve]
        if not self.ascii and x % of >= drawn and high - low < self.down:
            return
        for y in range(low, high + 1):
            row, column = y // self.down, x // self.across
            if self.ascii:
                self.cells[row][column] = ord(MARKS[curve])
            else:
                self.cells[row][column] |= _DOTS[y % 4][x % 2]
            self.parts[row][column] = f"curve{curve}"

    def draw(self, points: Sequence[tuple[float, float]], across: _Axis, up: _Axis, curve: int) -> None:
        """Draw a curve, a stroke from each point to the next."""
        before: tuple[int, int] | None = None
        low = high = 0  # what is drawn already of the column
        for step, value in points:
            right, above = across.place(step), up.place(value)
            if right is None or above is None:
                before = None
                continue
            x = round(min(1.0, max(0.0, right)) * (self.width - 1))
            y = round((1 - min(1.0, max(0.0, above))) * (self.height - 1))
            if before is not None and before[0] == x and low <= y <= high:
                before = (x, y)
                continue
            if before is None or before[0] == x:
                self.fill(x, y if before is None else before[1], y, curve)
            else:
                self._stroke(before, (x, y), curve)
                low = high = y
            low, high = (y, y) if before is None else (min(low, y), max(high, y))
            before = (x, y)

    def _stroke(self, start: tuple[int, int], end: tuple[int, int], curve: int) -> None:
        x0, y0 = start
        x1, y1 = end
        last = y0
        for x in range(x0 + 1, x1 + 1):
            y = round(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
            self.fill(x, last + (y > last) - (y < last), y, curve)
            last = y

    def row(self, up: _Axis, value: float) -> int | None:
        """Return the row of cells that a value is in; None where it is outside."""
        place = up.place(value)
        if place is None or not -1e-9 <= place <= 1 + 1e-9:
            return None
        return round((1 - place) * (self.height - 1)) // self.down

    def line(self, row: int, *, band: range, expected: int | None) -> Iterator[Run]:
        """Yield a row of cells as runs; what no curve is in shows the band, or the expected value."""
        empty = "expected" if row == expected else "band" if row in band else ""
        looks = {"expected": "-", "band": ":"} if self.ascii else {"expected": "─", "band": "░"}
        cells = [
            (chr(cell if self.ascii else _BRAILLE + cell), part) if cell else (looks.get(empty, " "), empty)
            for cell, part in zip(self.cells[row], self.parts[row], strict=True)
        ]
        for part, group in groupby(cells, key=lambda cell: cell[1]):
            yield "".join(text for text, _ in group), part


def picture(
    curves: Sequence[Curve],
    width: int,
    height: int,
    *,
    band: Expected | None = None,
    log: bool = False,
    ascii: bool = False,  # noqa: A002 - it is called so everywhere
) -> list[list[Run]]:
    """Return the chart, row by row, each as wide as asked for."""
    if width < 1 or height < 1:
        return []
    told = caption(curves, band=band, log=log, ascii=ascii)
    head: list[Run] = [(set_cell_size(_for_ascii(told) if ascii else told, width), "title")]
    shown = curves[: len(MARKS)]
    values = [value for curve in shown for _, value in curve.points]
    across = _axis([step for curve in shown for step, _ in curve.points], log=False)
    expects = [band.value, band.low, band.high] if band is not None else []
    rows = height - 1 - (height >= 5)
    up = _axis([*values, *expects], log=log) if _axis(values, log=log) is not None else None
    if up is None or across is None or rows < 1:
        word = " no values to draw yet" if rows > 0 and up is None else ""
        body = [word if row == rows // 2 else "" for row in range(height - 1)]
        return [head, *([(set_cell_size(line, width), "axis")] for line in body)]

    places = {0: 1.0, rows - 1: 0.0} if rows > 1 else {0: 1.0}
    if rows >= 7:
        places[(rows - 1) // 2] = 1 - (rows - 1) // 2 / (rows - 1)
    labels = dict(zip(places, _labels(up, list(places.values())), strict=True))
    margin = max(map(len, labels.values())) + 1 if width >= 16 else 0
    canvas = _Canvas(max(1, width - margin), rows, ascii=ascii)
    for place, curve in enumerate(shown):
        canvas.draw(curve.points, across, up, place)

    expected = canvas.row(up, band.value) if band is not None else None
    between = _band_rows(canvas, up, band)
    if expected is not None and band is not None and margin:
        labels[expected] = number(band.value)[: margin - 1]
    drawn = [head]
    for row in range(rows):
        line: list[Run] = []
        if margin:
            tick = "|" if ascii else "│"
            if row in labels:
                tick = ">" if row == expected else "+" if ascii else "┤"
            line.append((f"{labels.get(row, ''):>{margin - 1}}{tick}", "axis"))
        drawn.append([*line, *canvas.line(row, band=between, expected=expected)])
    if height >= 5:
        steps = [step for curve in shown for step, _ in curve.points]
        drawn.append([(_steps(min(steps), max(steps), margin, width), "axis")])
    return drawn


def _band_rows(canvas: _Canvas, up: _Axis, band: Expected | None) -> range:
    """Return the rows that the tolerance takes; none where it is narrower than a row."""
    if band is None or band.high <= band.low:
        return range(0)
    last = canvas.height // canvas.down - 1
    top = 0 if math.isinf(band.high) else canvas.row(up, band.high)
    # on a logarithmic axis what is at or below zero is at the bottom
    bottom = last if math.isinf(band.low) or (up.log and band.low <= 0) else canvas.row(up, band.low)
    return range(top, bottom + 1) if top is not None and bottom is not None else range(0)


def _steps(first: float, last: float, margin: int, width: int) -> str:
    """Return the line below the chart: the first and the last step."""
    left, right = (f"{step:.0f}" if abs(step) < 1e9 else f"{step:.3g}" for step in (first, last))
    if first == last:
        return f"{' ' * margin}{f'step {left}'.center(width - margin)}"[:width]
    room = max(0, width - margin - len(left) - len(right))
    middle = " step ".center(room) if room >= 8 else " " * room
    return f"{' ' * margin}{left}{middle}{right}"[:width].ljust(width)


def _for_ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def draw(
    curves: Sequence[Curve],
    width: int,
    height: int,
    *,
    band: Expected | None = None,
    log: bool = False,
    ascii: bool = False,  # noqa: A002 - it is called so everywhere
) -> list[str]:
    """Return the chart as lines of text."""
    rows = picture(curves, width, height, band=band, log=log, ascii=ascii)
    return ["".join(text for text, _ in row) for row in rows]
