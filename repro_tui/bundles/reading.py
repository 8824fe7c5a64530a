"""Reads a bundle that may have been made by anybody, without a parser of archives.

A bundle is the one file that `images.tar` writes for its index: headers, content and padding follow from the index
alone. So nothing in it is interpreted: each header must have the very bytes that the writer gives for the next member
of the index. Links, devices, other names, extended headers, members twice or none at all, bytes behind the end: all
are bytes that are not those. A header that differs is looked at only to say what it is.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from repro_tui.bundles.index import MAX_INDEX_BYTES, NAME, Index, Member, parse, refused, shown
from repro_tui.errors import BundleError
from repro_tui.images import tar

_BLOCK = 512
_CHUNK_BYTES = 1 << 20
_KINDS = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a character device", b"4": "a block device", b"5": "a folder",
    b"6": "a named pipe", b"7": "a contiguous file", b"g": "a global extended header", b"x": "an extended header",
    b"L": "a GNU long name", b"K": "a GNU long link", b"S": "a GNU sparse file", b"D": "a GNU directory dump",
    b"M": "a continuation of another volume", b"V": "a volume label",
}  # fmt: skip


class Hashed:
    """A file that is read once, from its beginning to its end, and hashed meanwhile."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return so many bytes, less at the end of the file."""
        content = self.file.read(size)
        self.digest.update(content)
        return content


@dataclass(frozen=True, slots=True)
class Opened:
    """A bundle whose index was read; what follows is checked while `members` goes through it."""

    path: Path
    file: Hashed
    index: Index
    sha256: str
    """Of the index, which says everything about the rest: what the bundle is known by."""
    content: bytes
    """Of the index."""

    @property
    def file_sha256(self) -> str:
        """Of the whole file, once `members` has gone through it: of the very bytes that were checked."""
        return self.file.digest.hexdigest()


def looks_like_bundle(path: Path) -> bool:
    """Say whether a file begins as a bundle does, or calls itself one; it is not checked."""
    try:
        if not path.is_file():
            return False
        if path.name.endswith(".repro.tar"):
            return True
        with path.open("rb") as file:
            start = file.read(_BLOCK)
    except OSError:
        return False
    return start.startswith(NAME.encode() + b"\0") and start[257:262] == b"ustar"


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Open a bundle and read its index; raises BundleError, OSError. The file must have the size that follows."""
    none = BundleError(f"there is no bundle {path}", where=str(path), hint="name a file that `repro-tui pack` made")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for
    except FileNotFoundError:
        raise none from None
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise none
        size_bytes, file = status.st_size, Hashed(stream)
        content = _index_bytes(file, path, size_bytes)
        index = parse(content, path)
        expected = _entry_bytes(NAME, len(content)) + len(tar.END)
        expected += sum(_entry_bytes(member.path, member.bytes) for member in index.files)
        found = Opened(path, file, index, hashlib.sha256(content).hexdigest(), content)
        if size_bytes != expected:
            _blame_first_difference(found)
            if size_bytes < expected:
                raise refused(path, "", f"it is cut off: it has {size_bytes} bytes of {expected}")
            raise refused(path, "", f"{size_bytes - expected} bytes follow its end")
        yield found


def members(bundle: Opened) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Yield each member with its content, which must be taken to its end: there its digest is compared.

    Raises BundleError at the first byte, member or digest that is another.
    """
    for member in bundle.index.files:
        _expect_header(bundle, member)
        yield member, _content(bundle, member)
        if _read(bundle.file, len(tar.padding(member.bytes))).strip(b"\0"):
            raise refused(bundle.path, member.path, "there are bytes behind its end")
    if _read(bundle.file, len(tar.END) + 1) != tar.END:
        raise refused(bundle.path, "", "another member follows the last one of the index")


def verify(path: Path, progress: Callable[[int, int, str], None] = lambda _done, _total, _text: None) -> Index:
    """Check every byte of a bundle, write nothing, and return its index; raises BundleError."""
    with opened(path) as bundle:
        done, total = 0, bundle.index.size_bytes
        for _, chunks in members(bundle):
            for chunk in chunks:
                done += len(chunk)
                progress(done, total, f"checking {path.name}")
        return bundle.index


def _index_bytes(file: Hashed, path: Path, size_bytes: int) -> bytes:
    """Return the first member, which must be the index and of a sensible size."""
    start = _read(file, _BLOCK)
    size = start[124:135]
    if len(start) < _BLOCK or not start.startswith(NAME.encode() + b"\0") or not size.isdigit():
        raise refused(
            path, NAME, "it is not the first member", hint="name a bundle that `repro-tui pack` made, or a manifest"
        )
    try:
        length = int(size, 8)
    except ValueError:
        length = -1
    if 0 < length <= MAX_INDEX_BYTES and length > size_bytes:
        raise refused(path, "", f"it is cut off within its index: it has {size_bytes} bytes")
    if not 0 < length <= MAX_INDEX_BYTES:
        raise refused(path, NAME, f"it says it has {length} bytes; at most {MAX_INDEX_BYTES} are allowed")
    if start != tar.header(NAME, b"0", 0o644, length):
        raise refused(path, NAME, _unlike(start))
    content = _read(file, length)
    if len(content) < length or _read(file, len(tar.padding(length))).strip(b"\0"):
        raise refused(path, NAME, "it is cut off, or there are bytes behind its end")
    return content


def _header(member: Member) -> bytes:
    return tar.header(member.path, b"0", 0o755 if member.executable else 0o644, member.bytes)


def _entry_bytes(path: str, size: int) -> int:
    return len(tar.header(path, b"0", 0o644, size)) + size + len(tar.padding(size))


def _expect_header(bundle: Opened, member: Member, *, or_the_end: bool = False) -> bool:
    """Raise BundleError unless a member's header comes next; `or_the_end`: return False where the file ends."""
    wanted = _header(member)
    found = _read(bundle.file, len(wanted))
    if found == wanted:
        return True
    if or_the_end and wanted.startswith(found):
        return False
    at = next(at for at in range(0, len(wanted), _BLOCK) if found[at : at + _BLOCK] != wanted[at : at + _BLOCK])
    raise refused(bundle.path, member.path, _unlike(found[at : at + _BLOCK]))


def _content(bundle: Opened, member: Member) -> Iterator[bytes]:
    digest, left = hashlib.sha256(), member.bytes
    while left:
        chunk = bundle.file.read(min(left, _CHUNK_BYTES))
        if not chunk:
            raise refused(bundle.path, member.path, "it is cut off")
        digest.update(chunk)
        left -= len(chunk)
        yield chunk
    if digest.hexdigest() != member.sha256:
        what = f"{member.role} {member.name}".rstrip()
        raise refused(
            bundle.path, member.path, f"the {what} has SHA-256 {digest.hexdigest()}, the index says {member.sha256}"
        )


def _blame_first_difference(bundle: Opened) -> None:
    """Raise BundleError for the first header that is not that of the index, where there is one; reads headers only."""
    for member in bundle.index.files:
        if not _expect_header(bundle, member, or_the_end=True):
            return
        bundle.file.file.seek(member.bytes + len(tar.padding(member.bytes)), os.SEEK_CUR)
    end = _read(bundle.file, len(tar.END))
    if end.strip(b"\0"):
        raise refused(bundle.path, "", "another member follows the last one of the index")


def _unlike(header: bytes) -> str:
    """Say in words what stands where the header of a member of the index should."""
    kind, name = header[156:157], header[:100].partition(b"\0")[0].decode(errors="backslashreplace")
    if header[257:262] != b"ustar":
        return "what stands in its place is no header"
    if kind in _KINDS:
        return f"what stands in its place is {_KINDS[kind]}, {shown(name)}"
    if name.startswith("/") or ".." in name.split("/"):
        return f"what stands in its place is {shown(name)}, a path that climbs out of the bundle"
    return f"what stands in its place is {shown(name)}, of another name, size, mode, owner or time than the index says"


def _read(file: Hashed, size: int) -> bytes:
    """Return so many bytes, less at the end of the file."""
    parts: list[bytes] = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
