"""SHA-256 of files and streams, fast: large reads, several files at once, and copying and hashing in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_CHUNK_BYTES = 1 << 20


class Readable(Protocol):
    """Anything bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; nothing at the end."""


class Writable(Protocol):
    """Anything bytes can be written to."""

    def write(self, data: bytes, /) -> object:
        """Write all of `data`."""


class TooLargeError(Exception):
    """A stream gave more bytes than it may."""


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as lower-case hex."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_hashed(
    source: Readable, target: Writable, *, limit_bytes: int | None = None, copied: Callable[[int], None] | None = None
) -> tuple[str, int]:
    """Copy a stream; return its SHA-256 and its size in bytes.

    `copied` is called with the bytes so far. Raises TooLargeError past `limit_bytes`: an archive or a server decides
    how much it sends, so somebody has to say when it is enough.
    """
    digest = hashlib.sha256()
    size_bytes = 0
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
        target.write(chunk)
        size_bytes += len(chunk)
        if limit_bytes is not None and size_bytes > limit_bytes:
            raise TooLargeError(f"more than {limit_bytes} bytes")
        if copied is not None:
            copied(size_bytes)
    return digest.hexdigest(), size_bytes
