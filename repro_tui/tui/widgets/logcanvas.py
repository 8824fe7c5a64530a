"""The part of the log view that reads, draws and scrolls: see widgets/logview.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from rich.segment import Segment
from rich.text import Text
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from repro_tui.runs.logreader import LogReader
from repro_tui.tui.widgets.logpage import Drawn, Look, Page, status


class LogCanvas(ScrollView, can_focus=True):
    """The lines of one growing file, followed or frozen."""

    ALLOW_SELECT = False  # lines are selected, by ourselves
    COMPONENT_CLASSES: ClassVar[set[str]] = {"logview--match", "logview--selected", "logview--dim"}
    DEFAULT_CSS = """
    LogCanvas {
        overflow-y: scroll;
        overflow-x: auto;
        scrollbar-size-horizontal: 0;
        scrollbar-size-vertical: 1;
    }
    LogCanvas > .logview--match { text-style: reverse; }
    LogCanvas > .logview--selected { text-style: bold; background: $boost; }
    LogCanvas > .logview--dim { color: $text-muted; }
    """

    follow = reactive(default=True)
    wrap = reactive(default=False)

    class Changed(Message, namespace="log_view"):
        """The status is another."""

        def __init__(self, view: LogCanvas) -> None:
            super().__init__()
            self.view = view

        @property
        def control(self) -> LogCanvas:
            """Return the log view, for `@on(LogView.Changed, "#log")`."""
            return self.view

        def can_replace(self, message: Message) -> bool:
            """Say that one of them is enough."""
            return isinstance(message, LogCanvas.Changed)

    class Grown(Message, namespace="log_canvas"):
        """The reader found something; from its thread."""

        def __init__(self, reader: LogReader) -> None:
            super().__init__()
            self.reader = reader

        def can_replace(self, message: Message) -> bool:
            """Say that one of them is enough."""
            return isinstance(message, LogCanvas.Grown) and message.reader is self.reader

    def __init__(
        self,
        *,
        id: str | None = None,  # noqa: A002 - Textual's word
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.ascii = False
        self.reader: LogReader | None = None
        self._words = ("", "")
        self._selection: tuple[int, int] | None = None  # lines: where it began, where it is now
        self._window: Drawn | None = None
        self._widest = 0
        self._generation = 0
        self._frozen_at = 0  # how many lines there were
        self._read_through = False
        self._moving = False
        self._anchor: int | None = None  # the line that stays a third down until somebody moves
        self._wanted: tuple[int, bool] | None = None  # a match to go to when it is found: from which line, forward
        self._status = ""

    # --- what is shown ----------------------------------------------------------------------------------------------

    def open(
        self, path: Path, *, missing: str = "There is no log yet.", empty: str = "The log is empty so far."
    ) -> None:
        """Show another file from now on, its end first; the filter and what is searched for stay."""
        kept = (self.reader.filter, self.reader.search) if self.reader is not None else (None, None)
        self.close_log()
        self._words = (missing, empty)
        reader = LogReader(path, lambda: self._tell(reader))
        reader.keep(kept[0].query if kept[0] is not None else None)
        reader.find(kept[1].query if kept[1] is not None else None)
        self.reader = reader
        self._generation = 0
        self._read_through = False
        self.follow = True
        if self.is_mounted:
            reader.start()
        self._fit()

    def close_log(self) -> None:
        """Show nothing, and read nothing."""
        if self.reader is not None:
            self.reader.stop()
        self.reader = None
        self._selection = self._wanted = self._anchor = None
        self._widest = 0
        self._fit()

    def on_mount(self) -> None:
        """Begin to read what was opened before."""
        if self.reader is not None:
            self.reader.start()
        self._fit()

    def on_unmount(self) -> None:
        """End the thread."""
        if self.reader is not None:
            self.reader.stop()

    def _tell(self, reader: LogReader) -> None:
        self.post_message(self.Grown(reader))

    def on_log_canvas_grown(self, message: Grown) -> None:
        """Take in what the reader found."""
        message.stop()
        if message.reader is not self.reader:
            return
        if self._generation != message.reader.index.generation:
            self._generation = message.reader.index.generation
            self._selection = self._wanted = self._anchor = None
            self._frozen_at = 0
        caught_up = message.reader.caught_up  # asked before the lines are counted: what comes between is new
        if not self._read_through:
            self._frozen_at = self._lines
        self._read_through = caught_up
        self._fit()
        self.seek()

    def _fit(self) -> None:
        """Make the scrollable area what there is to show; go to its end where it is followed, else to the anchor."""
        rows, height = self._rows, self.scrollable_size.height
        self._moving = True
        try:
            if self.wrap and height > 1 and (rows > height or self._overflows()):
                self.virtual_size = Size(self.scrollable_size.width, rows + height - 1)
            else:
                self.virtual_size = Size(0 if self.wrap else self._widest + 1, rows)
            if self.follow:
                self.scroll_to(y=self.max_scroll_y)
            elif self._anchor is not None and self.reader is not None:
                row = self.reader.row(self._anchor)
                self.scroll_to(y=row if self.wrap else max(0, row - height // 3))
        finally:
            self._moving = False
        self._aim()
        self._redraw()

    def _overflows(self) -> bool:
        page = self._page
        return page is not None and len(page.wrapped(0, self._rows)) > self.scrollable_size.height

    def _redraw(self) -> None:
        self._window = None
        self.refresh()
        status = self.status
        if status != self._status:
            self._status = status
            self.border_subtitle = Text(status)  # no markup: it has what was searched for in it
            self.post_message(self.Changed(self))

    @property
    def _rows(self) -> int:
        return len(self.reader) if self.reader is not None else 0

    @property
    def _lines(self) -> int:
        return len(self.reader.index) if self.reader is not None else 0

    @property
    def status(self) -> str:
        """Where one is, in words."""
        reader, rows = self.reader, self._rows
        if reader is None or not reader.index.exists:
            return ""
        return status(
            reader,
            follow=self.follow,
            new=rows - reader.row(self._frozen_at),
            bottom=self._bottom,
            selection=self._selection,
        )

    # --- drawing ----------------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Return one line of the screen."""
        window = self._seen
        return window[y][1] if y < len(window) else Strip.blank(self.size.width, self.rich_style)

    @property
    def _seen(self) -> Drawn:
        if self._window is None or len(self._window) != self.scrollable_size.height:
            self._window = self._draw()
        return self._window

    @property
    def _page(self) -> Page | None:
        if self.reader is None:
            return None
        base, *others = (
            self.rich_style,
            *(self.get_component_rich_style(f"logview--{part}", partial=True) for part in ("dim", "match", "selected")),
        )
        width, height = self.scrollable_size
        return Page(self.reader, Look(base, *others), width, height, self._selection, self.ascii)

    def _draw(self) -> Drawn:
        width, height = self.scrollable_size
        base, page = self.rich_style, self._page
        left = 0 if self.wrap else self.scroll_offset.x
        if page is None or not self._rows:
            dim = base + self.get_component_rich_style("logview--dim", partial=True)
            drawn = [(-1, Strip([Segment(f" {text}", dim)])) for text in self._nothing()]
        elif self.wrap:
            drawn = page.wrapped(0, self._rows) if self.max_scroll_y <= 0 else page.around(self.scroll_offset.y)
        else:
            drawn = page.plain(self.scroll_offset.y)
            widest = max((strip.cell_length for _, strip in drawn), default=0)
            if widest > self._widest:
                self._widest = widest
                self.call_later(self._fit)
        shown: Drawn = []
        for row, strip in drawn[:height]:
            if strip.cell_length > left + width and not self.wrap:
                cut = Strip([Segment(">", base)])
                shown.append((row, Strip.join([strip.crop_extend(left, left + width - 1, base), cut])))
            else:
                shown.append((row, strip.crop_extend(left, left + width, base)))
        blank = Strip.blank(width, base)
        return shown + [(-1, blank)] * (height - len(shown))

    def _nothing(self) -> list[str]:
        if self.reader is None or not self.reader.caught_up:
            return []
        if not self.reader.index.exists:
            return [self._words[0]]
        kept = self.reader.filter
        if kept is None or not len(self.reader.index):
            return [self._words[1]]
        return ["No line is kept by the filter."] if kept.done(self.reader.index) else []

    @property
    def _bottom(self) -> int:
        """The last row on the screen."""
        return max((row for row, _ in self._seen), default=0) if self.wrap else self._end() - 1

    def _end(self) -> int:
        return min(self._rows, self.scroll_offset.y + self.scrollable_size.height)

    @property
    def _top(self) -> int:
        return max(0, self._seen[0][0]) if self.wrap and self._seen else self.scroll_offset.y

    def seek(self) -> None:
        """Look whether what is waited for has been found; there is nothing to wait for here."""

    # --- moving -----------------------------------------------------------------------------------------------------

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Freeze when somebody scrolls up; follow again at the bottom."""
        super().watch_scroll_y(old_value, new_value)
        if not self._moving:
            if old_value > new_value and new_value < self.max_scroll_y:
                self.follow = False
            elif new_value > old_value and new_value >= self.max_scroll_y:
                self.follow = True
        self._redraw()

    def watch_scroll_x(self, old_value: float, new_value: float) -> None:
        """Draw again."""
        super().watch_scroll_x(old_value, new_value)
        self._redraw()

    def watch_follow(self, follow: bool) -> None:
        """Go to the end, or remember where it was left."""
        self._frozen_at = self._lines
        if follow:
            self._wanted = self._anchor = None
        self._fit()

    def watch_wrap(self) -> None:
        """Keep the row at the top where it is, or the end."""
        top = self._window[0][0] if self._window else 0
        self._fit()
        if not self.follow and self._anchor is None:
            self._move(max(0, top))

    def on_resize(self) -> None:
        """Fit the new size."""
        self._fit()

    def notify_style_update(self) -> None:
        """Draw in the new colours."""
        super().notify_style_update()
        self._window = None

    def _scroll_to(self, x: float | None = None, y: float | None = None, **options: Any) -> bool:
        """Scroll at once, by key or wheel: an animation would be stopped by the next line that comes."""
        if not self._moving:
            self._anchor = None
        scrolled = super()._scroll_to(x, y, **{**options, "animate": False})
        self._aim()
        return scrolled

    def _aim(self) -> None:
        # a target beyond the end, from before a resize, would swallow the next turns of the wheel
        self.scroll_target_x, self.scroll_target_y = self.scroll_x, self.scroll_y

    def _move(self, row: int) -> None:
        self._moving = True
        try:
            self.scroll_to(y=row)
        finally:
            self._moving = False
