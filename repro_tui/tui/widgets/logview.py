"""A log of any length: only what is visible is read, cleaned and drawn.

    view = LogView(id="log")                    then, any time and any number of times:
    view.open(path, missing="…", empty="…")     a file that may not be there yet; `view.close_log()` shows nothing
    view.follow / view.wrap                     reactive; toggle them. Scrolling up freezes, the bottom follows again
    view.find(text, regex=False), find_next(), find_previous(), find_errors(), clear_find()
    view.filter(text, regex=False), clear_filter()         find and filter raise BadPatternError with words for people
    view.go_top(), go_bottom(), go_to(line)
    view.copy() -> int                          lines put on the clipboard: the selected ones, else those on the screen
                                                they are selected by click, drag, shift+click
    view.status -> str                          "FOLLOW  5,120 lines", "+312 new  3 of 5,120  match 2 of 17"
    LogView.Changed                             the status is another; it is the border's subtitle already
    view.ascii = True                           no character beyond ASCII is drawn

The file is followed by a thread of the reader's; searches and filters run there, and go on as the file grows.
"""

from __future__ import annotations

from bisect import bisect_left

from textual import events

from repro_tui.runs.logreader import Query, errors
from repro_tui.tui.widgets.logcanvas import LogCanvas

MOST_COPIED = 10_000
"""Lines: terminals take no more than some megabytes into the clipboard, and many take less."""


class LogView(LogCanvas):
    """The lines of one growing file."""

    help_group = "Log"

    def go_top(self) -> None:
        """Go to the first line."""
        self.follow = False
        self._anchor = None
        self._move(0)

    def go_bottom(self) -> None:
        """Go to the last line, and follow."""
        self.follow = True
        self._fit()

    def go_to(self, line: int) -> None:
        """Select a line and keep it a third down, whatever is read and however high this is, until somebody moves."""
        if self.reader is None:
            return
        self.follow = False
        self._selection = (line, line)
        self._anchor = line
        self._fit()

    # --- finding and filtering --------------------------------------------------------------------------------------

    def find(self, text: str, *, regex: bool = False) -> None:
        """Search for a text, or a regular expression; go to the first match from here on when it is found."""
        self._search(Query(text, regex=regex) if text else None, start=self._here)

    def find_errors(self) -> None:
        """Go to the first line that tells of a failure; the others are matches too."""
        self._search(errors(), start=0)

    def clear_find(self) -> None:
        """Search no more."""
        self._search(None, start=0)

    def find_next(self) -> None:
        """Go to the next match, from the top again behind the last."""
        self._wanted = (self._here + 1, True)
        self.seek()

    def find_previous(self) -> None:
        """Go to the match before."""
        self._wanted = (self._here, False)
        self.seek()

    def _search(self, query: Query | None, *, start: int) -> None:
        if self.reader is not None:
            self.reader.find(query)
            self._wanted = (start, True) if query is not None else None
            self._redraw()

    @property
    def _here(self) -> int:
        """The line to search from: the selected one where it can be seen, else just before the topmost."""
        if self.reader is None:
            return 0
        if self._selection is not None and self._top <= self.reader.row(self._selection[1]) <= self._bottom:
            return self._selection[1]
        return self.reader.line(self._top) - 1

    def seek(self) -> None:
        """Go to the match that is wanted, if it is known by now."""
        if self.reader is None or self.reader.search is None or self._wanted is None:
            return
        start, forward = self._wanted
        scan = self.reader.search
        done = scan.done(self.reader.index) and self.reader.caught_up
        place = bisect_left(scan.lines, max(0, start))
        if forward and place == len(scan.lines):
            if not done:
                return
            place = 0
        elif not forward:
            if not done and scan.upto < start:
                return
            if place == 0 and not done:
                return
            place = (place or len(scan.lines)) - 1
        self._wanted = None
        if scan.lines:
            self.go_to(scan.lines[place])
        self._redraw()

    @property
    def settled(self) -> bool:
        """Say whether the file was read, what is looked for was found or is not there, and all of it is drawn."""
        reader = self.reader
        if reader is None:
            return True
        scans = [scan for scan in (reader.filter, reader.search) if scan is not None]
        done = self._read_through and all(scan.done(reader.index) for scan in scans)
        return done and self._wanted is None and self._status == self.status

    def filter(self, text: str, *, regex: bool = False) -> None:
        """Show only lines that match."""
        self._keep(Query(text, regex=regex) if text else None)

    def clear_filter(self) -> None:
        """Show all lines."""
        self._keep(None)

    def _keep(self, query: Query | None) -> None:
        if self.reader is None:
            return
        line = self._selection[1] if self._selection is not None else self.reader.line(self._top)
        self.reader.keep(query)
        self._frozen_at = self._lines
        if not self.follow:
            self._anchor = line
        self._fit()

    # --- selecting and copying --------------------------------------------------------------------------------------

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Select the line under the mouse, or as far as it."""
        line = self._line_at(event)
        if line is None or event.button != 1:
            return
        self.follow = False
        self._anchor = None
        self._selection = (self._selection[0] if event.shift and self._selection is not None else line, line)
        self.capture_mouse()
        self._redraw()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Select as far as the mouse is."""
        if self.app.mouse_captured is self and self._selection is not None:
            line = self._line_at(event)
            if line is not None and line != self._selection[1]:
                self._selection = (self._selection[0], line)
                self._redraw()

    def on_mouse_up(self) -> None:
        """Let the mouse go."""
        self.release_mouse()

    def _line_at(self, event: events.MouseEvent) -> int | None:
        place = event.get_content_offset(self)
        if place is None or self.reader is None or self._window is None or not 0 <= place.y < len(self._window):
            return None
        row = self._window[place.y][0]
        return self.reader.line(row) if 0 <= row < self._rows else None

    def copy(self) -> int:
        """Put the selected lines on the clipboard, or else those on the screen; return how many."""
        if self.reader is None or not self._rows:
            return 0
        first, last = self._top, self._bottom
        if self._selection is not None:
            first, last = (self.reader.row(line) for line in sorted(self._selection))
        wanted = min(last - first + 1, MOST_COPIED)
        lines: list[str] = []
        while len(lines) < wanted and (more := self.reader.rows(first + len(lines), wanted - len(lines))):
            lines += more
        self.app.copy_to_clipboard("\n".join(lines) + "\n")
        return len(lines)
