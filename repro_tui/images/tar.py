"""A deterministic tar writer: same entries, same bytes, on every host and Python.

The standard library's `tarfile` is free to change what it writes, and spends 20 µs an entry; an image has 40,000. This
writes POSIX ustar (IEEE Std 1003.1, "pax"), with a pax header only for what ustar cannot hold: paths that are long or
not ASCII, and files of 8 GiB and more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Self

MTIME_S = 315_532_800
"""1980-01-01: one time for everything, and the first that a zip file can hold."""

_BLOCK = 512
_BUFFER_BYTES = 1 << 20
_MAX_USTAR_SIZE_BYTES = 8**11 - 1


def header(path: str, kind: bytes, mode: int, size: int, target: str = "") -> bytes:
    """Return the header blocks of one entry; `kind` is a tar type flag: b"0" file, b"5" folder, b"2" symbolic link."""
    name, link = path.encode(), target.encode()
    records: dict[str, bytes] = {}
    prefix = b""
    if not name.isascii():
        records["path"] = name
    elif len(name) > 100:
        cut = name.rfind(b"/", 0, 156)
        if cut > 0 and len(name) - cut - 1 <= 100 and cut < len(name) - 1:
            prefix, name = name[:cut], name[cut + 1 :]
        else:
            records["path"] = name
    if len(link) > 100 or not link.isascii():
        records["linkpath"] = link
    if size > _MAX_USTAR_SIZE_BYTES:
        records["size"] = str(size).encode()
    main = _ustar(name[:100], kind, mode, 0 if "size" in records else size, prefix=prefix, link=link[:100])
    if not records:
        return main
    body = b"".join(_pax_record(key, value) for key, value in sorted(records.items()))
    return _ustar(b"PaxHeader", b"x", 0o644, len(body)) + body + padding(len(body)) + main


def padding(size: int) -> bytes:
    """Return the zeros that fill the last block of `size` bytes."""
    return bytes(-size % _BLOCK)


END = bytes(2 * _BLOCK)
"""End of archive."""


def _ustar(name: bytes, kind: bytes, mode: int, size: int, *, prefix: bytes = b"", link: bytes = b"") -> bytes:
    block = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%b%b%b%b%b" % (
        name.ljust(100, b"\0"), mode, 0, 0, size, MTIME_S, kind, link.ljust(100, b"\0"), b"ustar\00000",
        bytes(64), b"0000000\x000000000\0", prefix.ljust(155, b"\0") + bytes(12),
    )  # fmt: skip
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _pax_record(key: str, value: bytes) -> bytes:
    """Return `<length> key=value` and a newline, where the length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %b=%b\n" % (length, key.encode(), value)


class TarWriter:
    """Writes one tar file and its SHA-256 in a single pass."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._hash = hashlib.sha256()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self.size_bytes = 0
        """Bytes written so far: the offset of what comes next."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def folder(self, path: str, mode: int = 0o755) -> None:
        """Add a folder."""
        self._put(header(path + "/", b"5", mode, 0))

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._put(header(path, b"2", 0o777, 0, target))

    def file(self, path: str, mode: int, size: int, chunks: Iterable[bytes]) -> int:
        """Add a file; return the offset of its content. Raises ValueError where `chunks` are not `size` bytes."""
        self._put(header(path, b"0", mode, size))
        offset = self.size_bytes
        for chunk in chunks:
            self._put(chunk)
        if self.size_bytes - offset != size:
            raise ValueError(f"{path} has {self.size_bytes - offset} bytes, {size} were announced")
        self._put(padding(size))
        return offset

    def finish(self) -> str:
        """Write the end of the archive; return the SHA-256 in hex."""
        self._put(END)
        self._flush()
        return self._hash.hexdigest()

    def _put(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_bytes += len(data)
        self.size_bytes += len(data)
        if self._pending_bytes >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = memoryview(b"".join(self._pending))
        self._pending, self._pending_bytes = [], 0
        self._hash.update(data)
        while data:
            data = data[self._file.write(data) :]
