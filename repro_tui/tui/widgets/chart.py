"""A chart that is drawn anew at most twice a second, however often it is told of new points.

    chart = Chart(id="chart")
    chart.show([Curve("loss", list(series))], band=band)        several curves lie over each other; band may be None
    chart.log_y / chart.ascii                                   reactive
    plot.draw(curves, width, height, band=…, log=…, ascii=…)    the same as lines of text, without a widget

A band is anything with `value`, `low` and `high`; an open end is infinite.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.reactive import reactive
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from repro_tui.tui.widgets.plot import Curve, Expected, caption, picture

__all__ = ["Chart", "Curve"]

REDRAW_S = 0.5


class Chart(Widget):
    """A line chart of one or several series against the step."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"chart--{part}" for part in ("title", "axis", "band", "expected")),
        *(f"chart--curve{place}" for place in range(4)),
    }
    DEFAULT_CSS = """
    Chart { height: 1fr; min-height: 1; }
    Chart > .chart--title { text-style: bold; }
    Chart > .chart--axis { color: $text-muted; }
    Chart > .chart--band { color: $success-darken-2; }
    Chart > .chart--expected { color: $success; }
    Chart > .chart--curve0 { color: $accent; }
    Chart > .chart--curve1 { color: $warning; }
    Chart > .chart--curve2 { color: $secondary; }
    Chart > .chart--curve3 { color: $primary; }
    """

    log_y = reactive(default=False)
    ascii = reactive(default=False)

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id, classes=classes)
        self._curves: Sequence[Curve] = ()
        self._band: Expected | None = None
        self._drawn: list[Strip] | None = None
        self._drawn_at = 0.0
        self._later: Timer | None = None

    def show(self, curves: Sequence[Curve], *, band: Expected | None = None) -> None:
        """Draw these from now on, at once where nothing was drawn for half a second, or has other names."""
        other = [curve.name for curve in curves] != [curve.name for curve in self._curves]
        self._curves, self._band = curves, band
        wait_s = self._drawn_at + REDRAW_S - time.monotonic()
        if other or wait_s <= 0:
            self._draw_now()
        elif self._later is None and self.is_attached:
            self._later = self.set_timer(wait_s, self._draw_now)

    @property
    def caption(self) -> str:
        """The line above the chart, with the newest values."""
        return caption(self._curves, band=self._band, log=self.log_y, ascii=self.ascii)

    @property
    def settled(self) -> bool:
        """Say whether it draws what it was last given."""
        return self._later is None

    def _draw_now(self) -> None:
        if self._later is not None:
            self._later.stop()
            self._later = None
        self._drawn = None
        self._drawn_at = time.monotonic()
        self.refresh()

    def watch_log_y(self) -> None:
        """Draw with the other axis."""
        self._draw_now()

    def watch_ascii(self) -> None:
        """Draw with the other characters."""
        self._draw_now()

    def notify_style_update(self) -> None:
        """Draw in the new colours."""
        super().notify_style_update()
        self._drawn = None

    def on_resize(self) -> None:
        """Fit the new size."""
        self._draw_now()

    def render_line(self, y: int) -> Strip:
        """Return one line of the chart."""
        if self._drawn is None:
            rows = picture(
                self._curves, self.size.width, self.size.height, band=self._band, log=self.log_y, ascii=self.ascii
            )
            self._drawn = [Strip([Segment(text, self._style(part)) for text, part in row]) for row in rows]
        return self._drawn[y] if y < len(self._drawn) else Strip.blank(self.size.width, self.rich_style)

    def _style(self, part: str) -> Style:
        base = self.rich_style
        return base + self.get_component_rich_style(f"chart--{part}", partial=True) if part else base
