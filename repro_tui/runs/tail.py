"""An incremental reader of the complete lines of a file that somebody else appends to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from repro_tui.wire import MAX_LINE_BYTES

_CHUNK_BYTES = 1 << 20


class Tail:
    """Returns each complete line once, without its newline.

    A file that is not there yet, or that is no regular file, has no lines.
    Memory is bounded by one chunk and one line. A line longer than `max_line_bytes` is passed over and counted in
    `oversized`. A file that became shorter or was replaced is read from its beginning, and counted in `restarts`.
    `offset` is where the next unread line begins, in bytes: a later Tail may start there.
    """

    def __init__(self, path: Path, *, offset: int = 0, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.path = path
        self.offset = offset
        self.oversized = 0
        self.restarts = 0
        self._max_line_bytes = max_line_bytes
        self._partial = b""
        self._skipping = False
        self._inode: int | None = None
        self._refused = False

    def read(self, max_bytes: int = _CHUNK_BYTES) -> list[bytes]:
        """Return the complete lines among the next `max_bytes` bytes; [] where nothing new is complete.

        `caught_up` tells an end of the file from a chunk without an end of line.
        """
        data = self._next(max_bytes)
        if not data:
            return []
        *lines, rest = (self._partial + data).split(b"\n")
        complete: list[bytes] = []
        for line in lines:
            self.offset += len(line) + 1
            if self._skipping:
                self._skipping = False
            elif len(line) > self._max_line_bytes:
                self.oversized += 1
            else:
                complete.append(line)
        if len(rest) > self._max_line_bytes or (self._skipping and rest):
            if not self._skipping:
                self.oversized += 1
            self._skipping = True
            self.offset += len(rest)
            rest = b""
        self._partial = rest
        return complete

    def drain(self) -> list[bytes]:
        """Return every complete line there is now. For files that are known to be of a bearable size."""
        lines: list[bytes] = []
        while not self.caught_up():
            lines.extend(self.read())
        return lines

    def caught_up(self) -> bool:
        """Say whether everything that the file holds now has been read."""
        try:
            status = self.path.lstat()
        except OSError:
            return True
        if self._refused or not stat.S_ISREG(status.st_mode):
            return True
        return status.st_size == self.offset + len(self._partial) and self._inode in {None, status.st_ino}

    def rest(self) -> bytes:
        """Return the last line where it has no newline, once its writer has ended; it is then counted as read."""
        rest, self._partial = self._partial, b""
        self.offset += len(rest)
        return rest

    def _next(self, max_bytes: int) -> bytes:
        # A container writes some of these files: a link out of its folder or a pipe is not followed, nor waited for.
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:  # not there yet is not refused: it may be there when it is asked for next
            return b""
        except OSError:
            self._refused = True
            return b""
        self._refused = False
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return b""
            if status.st_size < self.offset + len(self._partial) or self._inode not in {None, status.st_ino}:
                self.restarts += 1
                self.offset = 0
                self._partial = b""
                self._skipping = False
            self._inode = status.st_ino
            return os.pread(descriptor, max_bytes, self.offset + len(self._partial))
        finally:
            os.close(descriptor)
