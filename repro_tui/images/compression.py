"""Reading layers that are compressed: gzip, or zstd."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from repro_tui.errors import DriftError

_CHUNK_BYTES = 1 << 20
_GZIP_CHUNK_BYTES = 1 << 16  # of many small members each leaves the rest of its chunk to the next, by copying it
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def compression(blob: Path) -> str:
    """Return "gzip", "zstd" or "": by what the blob begins with, since media types are not always right."""
    with blob.open("rb") as file:
        begin = file.read(4)
    return next((name for magic, name in _MAGIC.items() if begin.startswith(magic)), "")


def uncompressed(blob: Path) -> Iterator[bytes]:
    """Yield what a layer's blob holds; raises DriftError where it does not come to its end."""
    kind = compression(blob)
    with blob.open("rb", buffering=0) as file:
        try:
            if kind == "gzip":
                yield from _gzip(file)
            else:
                source: Any = _zstd(file) if kind == "zstd" else file
                while chunk := source.read(_CHUNK_BYTES):
                    yield chunk
        except (zlib.error, EOFError, _zstd_error()) as error:
            raise DriftError(
                f"a layer cannot be decompressed: {error}", component="image", where=str(blob), hint="it was made so"
            ) from error


def _gzip(file: IO[bytes]) -> Iterator[bytes]:
    """Decompress all members, one after the other (RFC 1952)."""
    member = zlib.decompressobj(wbits=31)
    data = file.read(_GZIP_CHUNK_BYTES)
    while data:
        if member.eof:
            member = zlib.decompressobj(wbits=31)
        yield member.decompress(data)
        data = member.unused_data or file.read(_GZIP_CHUNK_BYTES)
    if not member.eof:
        raise EOFError("it ends in the middle")


def _zstd(file: IO[bytes]) -> Any:
    """Open all frames of a stream."""
    import zstandard

    return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)


def _zstd_error() -> type[Exception]:
    import zstandard

    return zstandard.ZstdError
