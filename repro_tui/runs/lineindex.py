"""Where each line of a growing file begins, so that any line of a log of a million can be had at once.

A place is kept about every 32 kB, not for every line: memory is a two-thousandth of the file's size. The file is read
with pread in pieces, not mapped: somebody who truncates a mapped file kills its reader with SIGBUS.

    index = LineIndex(path)
    while index.extend(): ...       in a thread; a few MB each time
    index.lines(first, count)       from any thread, also in between
"""

from __future__ import annotations

import os
import stat
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Self

_SPACING_BYTES = 1 << 15
_CHUNK_BYTES = 1 << 20
_SAMPLE_BYTES = 64

EXTEND_BYTES = 8 << 20
LINE_BYTES = 1 << 14
"""A longer line is returned cut, with a word on how much is left out."""
PIECE_BYTES = 1 << 22
"""`lines` returns fewer lines than asked for where they are more than this."""


class LineIndex:
    """The lines of a file that somebody else appends to; one thread extends it, any thread reads it.

    A file that is not there yet, or is a link or no regular file, has no lines. A file that became shorter, was
    replaced or was written anew is indexed from its beginning, and `generation` is one more: line numbers that were
    kept from before mean nothing then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.generation = 0
        self.exists = False
        self._lock = Lock()
        self._inode: int | None = None
        self._forget()

    def _forget(self) -> None:
        self._numbers = array("Q", [0])  # the line that begins at the offset beside it
        self._offsets = array("Q", [0])
        self._complete = 0  # lines that have their newline
        self._tail = 0  # where the line behind them begins
        self._size = 0  # bytes that were looked at
        self._sample = b""  # the last of them, to know the file again

    def __len__(self) -> int:
        """Return how many lines are known, counting a last one without its newline."""
        return self._complete + (self._size > self._tail)

    @property
    def complete(self) -> int:
        """How many lines have their newline: these do not change any more."""
        return self._complete

    @property
    def size(self) -> int:
        """How many bytes were looked at."""
        return self._size

    def extend(self, max_bytes: int = EXTEND_BYTES) -> bool:
        """Look at up to `max_bytes` that are new; say whether anything changed."""
        with self._opened() as descriptor:
            if descriptor is None:
                changed = self.exists
                if changed:
                    self._restart(None)
                return changed
            status = os.fstat(descriptor)
            changed = not self.exists
            if status.st_ino != self._inode or status.st_size < self._size or not self._same(descriptor):
                changed = changed or self._size > 0
                self._restart(status.st_ino)
            self.exists = True
            end = self._size + max_bytes
            while self._size < end and (data := os.pread(descriptor, min(_CHUNK_BYTES, end - self._size), self._size)):
                self._take(data)
                changed = True
            return changed

    def lines(self, first: int, count: int, *, max_bytes: int = PIECE_BYTES) -> list[bytes]:
        """Return up to `count` lines from line `first` on, without their newlines; fewer where they are very large.

        At least one comes where there is one. A line above LINE_BYTES is cut: of a progress bar, which writes over
        itself with carriage returns, the end is kept; of any other line the beginning.
        """
        with self._lock:
            known, size, inode = len(self), self._size, self._inode
            at = bisect_right(self._numbers, first) - 1
            number, offset = self._numbers[at], self._offsets[at]
        count = min(count, known - first)
        if first < 0 or count <= 0:
            return []
        found: list[bytes] = []
        total = 0
        with self._opened() as descriptor:
            if descriptor is None or os.fstat(descriptor).st_ino != inode:
                return []
            while len(found) < count and total < max_bytes:
                data = os.pread(descriptor, min(_SPACING_BYTES, size - offset), offset)
                if not data:
                    break
                *whole, rest = data.split(b"\n")
                offset += len(data) - len(rest)
                if rest and offset + len(rest) >= size:  # the last line has no newline yet
                    whole.append(rest)
                    offset = size
                elif not whole:  # a line longer than what was read
                    end = self._end(number, size)
                    whole = [self._beginning_or_end(descriptor, offset, end)] if number >= first else [b""]
                    offset = end + 1
                for line in whole[max(0, first - number) :]:
                    found.append(_cut(line))
                    total += len(found[-1])
                number += len(whole)
        return found[:count]

    def _end(self, number: int, size: int) -> int:
        """Return where a line longer than the spacing ends: a place was kept right behind it."""
        with self._lock:
            at = bisect_right(self._numbers, number)
            return self._offsets[at] - 1 if at < len(self._numbers) else size

    @staticmethod
    def _beginning_or_end(descriptor: int, offset: int, end: int) -> _Long:
        """Return of a line longer than the spacing what `_cut` needs of it."""
        data = os.pread(descriptor, min(LINE_BYTES + 1, end - offset), offset)
        if b"\r" in data and end - offset > LINE_BYTES:
            data = b"\r" + os.pread(descriptor, LINE_BYTES, max(offset, end - LINE_BYTES))
        return _Long(data, end - offset)

    def _take(self, data: bytes) -> None:
        """Count the newlines of the bytes that come next, and keep a place now and then."""
        complete, tail = self._complete, self._tail
        kept = self._offsets[-1]
        numbers: list[int] = []
        offsets: list[int] = []
        for start in range(0, len(data), _SPACING_BYTES):
            end = start + _SPACING_BYTES
            count = data.count(b"\n", start, end)
            if not count:
                continue
            # The first line that begins here, so that right behind a long line there always is a place.
            first = self._size + data.find(b"\n", start, end) + 1
            if first - kept >= _SPACING_BYTES:
                numbers.append(complete + 1)
                offsets.append(first)
                kept = first
            complete += count
            tail = self._size + data.rfind(b"\n", start, end) + 1
        with self._lock:
            self._numbers.extend(numbers)
            self._offsets.extend(offsets)
            self._complete, self._tail = complete, tail
            self._size += len(data)
            self._sample = (self._sample + data[-_SAMPLE_BYTES:])[-_SAMPLE_BYTES:]

    def _same(self, descriptor: int) -> bool:
        """Say whether the file still holds what was looked at last: one written anew may have grown past it."""
        return os.pread(descriptor, len(self._sample), self._size - len(self._sample)) == self._sample

    def _restart(self, inode: int | None) -> None:
        with self._lock:
            if self._size or inode is None:
                self.generation += 1
            self._inode = inode
            self.exists = False
            self._forget()

    @contextmanager
    def _opened(self) -> Iterator[int | None]:
        # A container writes some of these files: a link out of its folder or a pipe is not followed, nor waited for.
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            yield None
            return
        try:
            yield descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
        finally:
            os.close(descriptor)


class _Long(bytes):
    """A part of a line of `length` bytes."""

    length: int

    def __new__(cls, data: bytes, length: int) -> Self:
        part = super().__new__(cls, data)
        part.length = length
        return part


def _cut(line: bytes) -> bytes:
    length = line.length if isinstance(line, _Long) else len(line)
    if length <= LINE_BYTES:
        return line
    if b"\r" in line[:LINE_BYTES]:
        return line[-LINE_BYTES:]
    return line[:LINE_BYTES] + b" [%d more bytes]" % (length - LINE_BYTES)
