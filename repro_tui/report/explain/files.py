"""Two versions of a file or a folder side by side, by streaming: bounded in memory and in time, whatever they hold."""

from __future__ import annotations

import bz2
import difflib
import gzip
import hashlib
import lzma
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, BinaryIO

from repro_tui.files import open_plain
from repro_tui.runs.words import printable, size

PATIENCE_S = 20.0
"""So long at most is spent on reading data and code, of all artifacts together, and so long on reading losses."""
_CHUNK_BYTES = 1 << 20
_LINE_BYTES = 1 << 20
"""A longer line counts as several."""
_OPEN_ROWS = 1_000_000
"""So many rows that have not met their like are kept in mind."""
_SOURCE_BYTES = 256 << 10
_SOURCE_LINES = 5000
"""A longer file is compared by rows: what makes a diff short takes too long for one."""
_COMPRESSED: Mapping[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open
}  # fmt: skip
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_SHOWN_LINES = 12
_EXCERPT = 56

Tree = Mapping[str, Path]
"""Files by their relative path; a file that is an artifact by itself has the path ""."""


class TooLongError(Exception):
    """There is more to read than there is time for."""


@dataclass
class Clock:
    """How long reading may take; the time starts with the first question."""

    patience_s: float = PATIENCE_S
    _until: float | None = field(default=None, init=False)

    def check(self) -> None:
        """Raise TooLongError once the time is over."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + self.patience_s
        if now >= self._until:
            raise TooLongError


def sha256(path: Path, clock: Clock) -> str:
    """Return the digest of a plain file; raises OSError, TooLongError."""
    digest = hashlib.sha256()
    with open_plain(path, follow=True) as file:
        while chunk := file.read(_CHUNK_BYTES):
            clock.check()
            digest.update(chunk)
    return digest.hexdigest()


# --- rows -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rows:
    """How the lines of two text files differ. `whole` False: time or memory was over before the end."""

    left: int
    right: int
    changed: int
    added: int
    removed: int
    first: tuple[int, str, str] | None
    """The first line that differs, numbered from 1, with an excerpt of both; an empty one is the end of the file."""
    whole: bool = True

    def lines(self) -> tuple[str, ...]:
        """Return what a person reads of it."""
        counted = ", ".join(
            f"{count:,} {'row' if count == 1 else 'rows'} {what}"
            for count, what in ((self.changed, "changed"), (self.added, "added"), (self.removed, "removed"))
            if count
        )
        if not self.whole:
            counted = f"at least {counted}" if counted else "no row differs so far"
            counted += f" in the first {min(self.left, self.right):,} (not read to the end)"
        elif not counted:
            how = "with other line ends, or compressed otherwise" if self.first is None else "in another order"
            counted = f"the same {self.left:,} rows {how}"
        if self.first is None:
            return (counted,)
        number, left, right = self.first
        return (
            f"{counted}; the first at row {number:,}",
            f"- {left or '(no such row)'}",
            f"+ {right or '(no such row)'}",
        )


def compare_rows(left: Path, right: Path, clock: Clock) -> Rows | None:
    """Return how the lines of two files, compressed or not, differ; None where one holds no text. Raises OSError.

    A row that stands elsewhere is not a changed one: rows that differ at the same place are kept in mind until their
    like comes by, so an inserted row is one row, however many follow it. As many as are left over on both sides count
    as changed, the rest as added or removed.
    """
    try:
        return _compare_rows(left, right, clock) if _is_text(left) and _is_text(right) else None
    except _DAMAGED:
        return None


def _compare_rows(left: Path, right: Path, clock: Clock) -> Rows:
    waiting: dict[bytes, int] = {}
    first: tuple[int, str, str] | None = None
    counts = [0, 0]
    whole = True
    with _opened(left) as one, _opened(right) as other:
        for number, (ours, theirs) in enumerate(zip_longest(_lines(one), _lines(other)), 1):
            counts[0] += ours is not None
            counts[1] += theirs is not None
            if ours != theirs:
                first = first or (number, *_excerpts(ours, theirs))
                _meet(waiting, ours, -1)
                _meet(waiting, theirs, 1)
            try:
                if number % 1024 == 1:
                    clock.check()
            except TooLongError:
                whole = False
            if not whole or len(waiting) > _OPEN_ROWS:
                whole = False
                break
    more = sum(count for count in waiting.values() if count > 0)
    less = -sum(count for count in waiting.values() if count < 0)
    changed = min(more, less)
    return Rows(counts[0], counts[1], changed, more - changed, less - changed, first, whole)


def _meet(waiting: dict[bytes, int], line: bytes | None, count: int) -> None:
    if line is None:
        return
    key = hashlib.blake2b(line, digest_size=16).digest()
    total = waiting.pop(key, 0) + count
    if total:
        waiting[key] = total


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(_LINE_BYTES):
        yield line.rstrip(b"\r\n") if line.endswith(b"\n") else line


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading what is in it: a compressed one gives what was compressed, as it is asked for."""
    with open_plain(path, follow=True) as file:
        begin = file.read(max(map(len, _COMPRESSED)))
        file.seek(0)
        opener = next((opener for magic, opener in _COMPRESSED.items() if begin.startswith(magic)), None)
        if opener is None:
            yield file
            return
        with opener(file) as inside:
            yield inside


def _is_text(path: Path) -> bool:
    with _opened(path) as file:
        return b"\0" not in file.read(8192)


def _excerpts(left: bytes | None, right: bytes | None) -> tuple[str, str]:
    """Return both lines where they part, each cut to a few words' length and without what could steer a terminal."""
    one, other = ((line or b"")[:_LINE_BYTES].decode("utf-8", "replace") for line in (left, right))
    begin = 0
    if left is not None and right is not None:
        same = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
        begin = max(0, same - _EXCERPT // 2)
    return _cut(one, begin, left is None), _cut(other, begin, right is None)


def _cut(line: str, begin: int, missing: bool) -> str:
    if missing:
        return ""
    end = begin + _EXCERPT
    text = ("…" if begin else "") + line[begin:end] + ("…" if len(line) > end else "")
    return printable(text.replace("\n", " ")) or "(an empty row)"


# --- folders ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file of a folder that is not the same; `left` or `right` None is one that is not there."""

    path: str
    left: Path | None
    right: Path | None

    @property
    def what(self) -> str:
        """What became of it."""
        if self.left is None:
            return "added"
        return "removed" if self.right is None else "changed"


def changed_files(left: Tree, right: Tree, clock: Clock) -> list[FileChange]:
    """Return the files that differ, by path; raises OSError, TooLongError."""
    found = []
    for path in sorted(left.keys() | right.keys()):
        one, other = left.get(path), right.get(path)
        if one is None or other is None or not _same_file(one, other, clock):
            found.append(FileChange(path, one, other))
    return found


def _same_file(left: Path, right: Path, clock: Clock) -> bool:
    one, other = left.stat(), right.stat()
    if (one.st_size, one.st_mode & 0o100) != (other.st_size, other.st_mode & 0o100):
        return False
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) or sha256(left, clock) == sha256(right, clock)


def source_difference(change: FileChange, clock: Clock) -> tuple[str, tuple[str, ...]]:
    """Return how many lines of a source file differ, and a short unified diff, without its heading."""
    try:
        texts = [_source(path, clock) for path in (change.left, change.right)]
    except (OSError, TooLongError):
        return change.what, ()
    one, other = texts
    if one is None or other is None:
        rows = _rows(change, clock)
        if rows is not None:
            return change.what, rows.lines()
        sizes = " to ".join(size(path.stat().st_size) for path in (change.left, change.right) if path is not None)
        return f"{change.what}, no text ({sizes})", ()
    if one == other:
        return "its executable bit changed", ()
    hunks = list(islice(difflib.unified_diff(one, other, n=1, lineterm=""), 2, None))
    more = sum(line.startswith("+") for line in hunks)
    less = sum(line.startswith("-") for line in hunks)
    counted = f"{more} {'line' if more == 1 else 'lines'} added, {less} removed"
    shown = [printable(line[:120].replace("\n", " ")) for line in hunks[:_SHOWN_LINES]]
    if len(hunks) > _SHOWN_LINES:
        shown.append(f"… {len(hunks) - _SHOWN_LINES} more lines")
    return counted if change.what == "changed" else f"{change.what}: {counted}", tuple(shown)


def _rows(change: FileChange, clock: Clock) -> Rows | None:
    if change.left is None or change.right is None:
        return None
    try:
        return compare_rows(change.left, change.right, clock)
    except OSError:
        return None


def _source(path: Path | None, clock: Clock) -> list[str] | None:
    """Return the lines of a file, none for one that is not there; None for what is no text or is too long for one."""
    if path is None:
        return []
    clock.check()
    with open_plain(path, follow=True) as file:
        content = file.read(_SOURCE_BYTES + 1)
    if len(content) > _SOURCE_BYTES or b"\0" in content:
        return None
    lines = content.decode("utf-8", "replace").splitlines()
    return lines if len(lines) <= _SOURCE_LINES else None
