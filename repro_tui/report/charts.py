"""Lines over steps as static SVG for a page: drawn by pygal, without its scripts, styles and links.

The page's style sheet gives the colours, so a chart follows the reader's light or dark, and paper.
"""

from __future__ import annotations

import math
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from repro_tui.errors import InfrastructureError

MAX_POINTS = 400
"""Of one line; of more, the lowest and the highest of each stretch are kept."""

_WIDTH, _HEIGHT = 460, 190
_LARGEST = 1e100  # of what is drawn: beyond it the arithmetic of a scale is not safe
_LONGEST = 2**53
_SVG = "{http://www.w3.org/2000/svg}"
_KEPT = frozenset({"class", "d", "x", "y", "cx", "cy", "r", "width", "height", "transform", "viewBox"})


@dataclass(frozen=True, slots=True)
class Band:
    """An expected value and the ends of what is still the same; an open end is infinite."""

    value: float
    low: float
    high: float


def line_chart(points: Sequence[tuple[int, float]], *, title: str, band: Band | None = None) -> str:
    """Return a line as an SVG element, empty where nothing of it can be drawn. Raises InfrastructureError.

    What is not finite is left out: say so beside the chart. The same points give the same text.
    """
    shown = thinned([(step, value) for step, value in points if abs(step) < _LONGEST and abs(value) < _LARGEST])
    if not shown:
        return ""
    pygal = _pygal()
    chart = pygal.XY(
        width=_WIDTH,
        height=_HEIGHT,
        margin=8,
        show_dots=len(shown) == 1,
        show_legend=False,
        no_prefix=True,
        js=[],
        css=[],
        x_title="step",
        max_scale=8,
    )
    chart.add("value", shown)
    first, last = shown[0][0], shown[-1][0]
    ends = [] if band is None else [("expected", band.value), ("limit", band.low), ("limit", band.high)]
    for name, height in ends:
        if math.isfinite(height) and abs(height) < _LARGEST:
            chart.add(name, [(first, height), (max(last, first + 1), height)])
    try:
        drawn = chart.render_tree()
    except (ArithmeticError, ValueError):  # a scale that floating point cannot make
        return ""
    return _clean(drawn, title)


def thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return at most MAX_POINTS + 2 points: the two ends, the lowest and the highest of each stretch between."""
    if len(points) <= MAX_POINTS:
        return list(points)
    length = -(-len(points) * 2 // MAX_POINTS)
    kept = [points[0]]
    for start in range(0, len(points), length):
        stretch = points[start : start + length]
        values = [value for _, value in stretch]
        kept += [stretch[place] for place in sorted({values.index(min(values)), values.index(max(values))})]
    return [*kept, points[-1]]


def _pygal() -> Any:
    try:
        import pygal  # type: ignore[import-untyped]
        from pygal.etree import etree  # type: ignore[import-untyped]
    except ImportError:
        raise InfrastructureError(
            "the charts of report.html need pygal, which is not installed",
            hint="pip install 'repro-tui[html]'; the other forms do without",
        ) from None
    etree.to_etree()  # with lxml the same chart would be other bytes
    # it leaves a finder for its maps behind, of a kind that Python warns of at every import that fails afterwards
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]
    return pygal


def _clean(svg: Any, title: str) -> str:
    """Return what is seen of a chart, in the page's own names: no scripts, no styles, no tooltips, no comments."""
    top = ET.Element("svg", {"class": "chart", "viewBox": svg.get("viewBox"), "role": "img"})
    ET.SubElement(top, "title").text = title
    for child in svg:
        if (copied := _seen(child)) is not None:
            top.append(copied)
    return ET.tostring(top, encoding="unicode")


def _seen(node: Any) -> ET.Element | None:
    if not isinstance(node.tag, str):  # a comment
        return None
    tag = node.tag.removeprefix(_SVG)
    if tag not in {"g", "path", "text", "rect", "circle"} or "overlay" in (node.get("class") or ""):
        return None
    copied = ET.Element(tag, {key: _rounded(key, value) for key, value in node.attrib.items() if key in _KEPT})
    copied.text = node.text
    for child in node:
        if (inner := _seen(child)) is not None:
            copied.append(inner)
    return copied


def _rounded(key: str, value: str) -> str:
    """Return coordinates to a tenth of a pixel: nobody sees more."""
    if key in {"class", "transform", "viewBox"}:
        return value
    words = []
    for word in value.split():
        letter, number = (word[0], word[1:]) if word[0].isalpha() else ("", word)
        try:
            words.append(f"{letter}{float(number):.1f}" if number else letter)
        except ValueError:
            words.append(word)
    return " ".join(words)
