"""A log that grows, read in a thread of its own: its lines, those a filter keeps, those a search finds.

Everything is done in small pieces, so that whoever waits for the interpreter gets it within milliseconds, and a
search that was replaced by another ends at once.
"""

from __future__ import annotations

import re
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

from repro_tui.runs.lineindex import LineIndex
from repro_tui.runs.logtext import ERRORS, displayed

POLL_S = 0.1
PIECE_LINES = 2048
MOST_FOUND = 2_000_000
"""Of lines that are found no more are kept: a search for what is in every line of a huge log."""
_PIECE_BYTES = 1 << 17
_EXTEND_BYTES = 1 << 22
_REGEX_CHARS = (64, 1 << 14)
_REGEX_S = 0.002
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?[:=!]|[()|+*{]", re.DOTALL)


class BadPatternError(ValueError):
    """A regular expression that is none; the message says why."""


class Query:
    """What is looked for: a text, or a regular expression. Without a capital letter, capitals do not count.

    Nothing can stop the matching of a regular expression, and while it goes on nobody else has the interpreter. So
    what takes for ever is refused, and what takes long for one line sees only the beginning of the next ones.
    """

    def __init__(self, text: str, *, regex: bool = False) -> None:
        self.text = text
        self.regex = regex
        flags = re.NOFLAG if any(c.isupper() for c in text) else re.IGNORECASE
        if regex and _may_explode(text):
            raise BadPatternError("repeating a group that repeats or chooses may take for ever")
        try:
            self.pattern = re.compile(text if regex else re.escape(text), flags)
        except (re.error, OverflowError, RecursionError) as error:
            raise BadPatternError(f"no regular expression: {error}") from None
        self._fold = bool(flags)
        self._reach = _REGEX_CHARS[1]

    def __str__(self) -> str:
        return f"/{self.text}/" if self.regex else f'"{self.text}"'

    def matching(self, lines: list[str]) -> list[int]:
        """Return the places of the lines that match."""
        if self.regex:
            return [place for place, line in enumerate(lines) if self._matches(line)]
        text = self.text
        if self._fold:
            text, lines = text.lower(), "\n".join(lines).lower().split("\n")
        return [place for place, line in enumerate(lines) if text in line]

    def _matches(self, line: str) -> bool:
        """Search more of a line as long as it is quick: a slow expression takes sixteen times longer for the double."""
        reach = _REGEX_CHARS[0]
        while True:
            start = time.thread_time()
            found = self.pattern.search(line, 0, reach)
            if reach >= min(len(line), self._reach):
                return found is not None
            if found and found.end() < reach:  # else its $ may be where the part ends
                return True
            if time.thread_time() - start > _REGEX_S:
                self._reach = reach
            reach *= 2

    def spans(self, line: str) -> list[tuple[int, int]]:
        """Return where in a line it is."""
        if self.regex and not self._matches(line):
            return []
        end = self._reach if self.regex else len(line)
        return [found.span() for found in self.pattern.finditer(line, 0, end) if found.end() > found.start()]


def _may_explode(pattern: str) -> bool:
    """Say whether a group that holds a repetition or a choice is repeated, as in (a+)+ and (a|a)*."""
    groups = [False]
    for found in _TOKEN.finditer(pattern):
        part, at = found[0], found.start()
        if part.startswith("("):
            groups.append(False)
        elif part == ")":
            inner = groups.pop() if len(groups) > 1 else False
            if inner and pattern[at + 1 : at + 2] in {"+", "*", "{"}:
                return True
            groups[-1] = groups[-1] or inner
        elif part in {"|", "+", "*", "{"}:
            groups[-1] = True
    return False


def errors() -> Query:
    """Return the query for lines that tell of a failure."""
    query = Query("error")
    query.regex, query.pattern = True, ERRORS
    return query


class Scan:
    """The numbers of the lines that match a query (and another one), as far as `upto`; it goes on as the log grows."""

    def __init__(self, query: Query, *, within: Query | None = None) -> None:
        self.query = query
        self.within = within
        self.lines = array("Q")
        self.upto = 0
        self._generation = 0
        self._unfinished = (-1, False)  # size of the log when its last, unfinished line was looked at; whether it is in

    def step(self, index: LineIndex) -> bool:
        """Look at the next lines; say whether something new was found or ruled out."""
        if index.generation != self._generation:
            self.lines, self.upto, self._unfinished = array("Q"), 0, (-1, False)
            self._generation = index.generation
        complete, size = index.complete, index.size
        if self.upto >= complete and (len(index) == complete or self._unfinished[0] == size):
            return False
        if self._unfinished[1]:
            self.lines.pop()
        self._unfinished = (-1, False)
        found = displayed(index.lines(self.upto, PIECE_LINES, max_bytes=_PIECE_BYTES))
        if not found:
            return False
        places = self.query.matching(found)
        if self.within is not None:
            kept = set(self.within.matching([found[place] for place in places]))
            places = [place for number, place in enumerate(places) if number in kept]
        self.lines.extend(self.upto + place for place in places[: MOST_FOUND - len(self.lines)])
        if self.upto + len(found) > complete:
            self._unfinished = (size, bool(places) and self.upto + places[-1] >= complete)
        self.upto = min(self.upto + len(found), complete)
        return True

    def done(self, index: LineIndex) -> bool:
        """Say whether every complete line was looked at."""
        return self.upto >= index.complete and self._generation == index.generation

    @property
    def count(self) -> str:
        """How many were found, as a word: "1,204", or "2,000,000+" where counting ended."""
        return f"{len(self.lines):,}{'+' if len(self.lines) >= MOST_FOUND else ''}"

    def words(self, index: LineIndex, current: int) -> str:
        """Return what was found, in words; `current` is the line one is on."""
        if not self.done(index):
            return f"{self.count} found, {100 * self.upto // max(1, index.complete)} % searched"
        if not self.lines:
            return f"no {self.query}"
        place = bisect_left(self.lines, current)
        if place < len(self.lines) and self.lines[place] == current:
            return f"match {place + 1:,} of {self.count}"
        return f"{self.count} {'match' if len(self.lines) == 1 else 'matches'}"


class LogReader:
    """Follows one log. `changed` is called from its thread, at most ten times a second, when there is something new."""

    def __init__(self, path: Path, changed: Callable[[], None]) -> None:
        self.index = LineIndex(path)
        self.filter: Scan | None = None
        self.search: Scan | None = None
        self.caught_up = False
        """Whether the log was read to its end once."""
        self._changed = changed
        self._stop = Event()
        self._wake = Event()
        self._thread = Thread(target=self._follow, name=f"log {path.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the end of the piece at hand."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def keep(self, query: Query | None) -> None:
        """Keep only the lines that match; all of them for None. What is searched for is searched among them."""
        self.filter = Scan(query) if query is not None else None
        self.find(self.search.query if self.search is not None else None)

    def find(self, query: Query | None) -> None:
        """Search for lines."""
        within = self.filter.query if self.filter is not None else None
        self.search = Scan(query, within=within) if query is not None else None
        self._wake.set()

    def __len__(self) -> int:
        """Return the number of rows: lines, or those that the filter keeps."""
        return len(self.filter.lines) if self.filter is not None else len(self.index)

    def line(self, row: int) -> int:
        """Return the number of the line in a row."""
        kept = self.filter
        # a slice, for its thread may just take the last one away
        return next(iter(kept.lines[row : row + 1]), row) if kept is not None and row >= 0 else row

    def row(self, line: int) -> int:
        """Return the row of a line, or of the next that is kept."""
        return bisect_left(self.filter.lines, line) if self.filter is not None else line

    def rows(self, first: int, count: int) -> list[str]:
        """Return the rows from one on, as they are displayed; fewer at the end."""
        first = max(0, first)
        if self.filter is None:
            return displayed(self.index.lines(first, count))
        numbers = self.filter.lines[first : first + count]
        return displayed([line for number in numbers for line in self.index.lines(number, 1)])

    def _follow(self) -> None:
        news, told = False, 0.0
        while not self._stop.is_set():
            busy = False
            before = self.index.size
            if self.index.extend(_EXTEND_BYTES):
                news = True
                busy = self.index.size - before >= _EXTEND_BYTES
            if not busy and not self.caught_up:
                self.caught_up = news = True
            for scan in (self.filter, self.search):
                if scan is not None and scan.step(self.index):
                    news = True
                    busy = busy or not scan.done(self.index)
            now = time.monotonic()
            if news and now - told >= POLL_S:
                news, told = False, now
                self._changed()
            if busy:
                self._stop.wait(0.0005)  # lets others have the interpreter
            else:
                self._wake.wait(POLL_S)
                self._wake.clear()
