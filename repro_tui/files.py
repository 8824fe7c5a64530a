"""Files: written whole or not at all, and read without being led astray by whoever made them."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader, FileIO
from pathlib import Path

_BUFFER_BYTES = 1 << 18


def write_whole(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a reader meets the old one, or the new one whole; raises OSError, leaving no trace."""
    import tempfile  # those who only read do without it

    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def open_plain(path: str | Path, *, folder: int | None = None, follow: bool = False) -> BufferedReader:
    """Open a plain file for reading, below an open folder where one is given.

    Waits for no pipe, and follows no link at the end of the path unless that is asked for. Raises OSError.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return BufferedReader(FileIO(descriptor), _BUFFER_BYTES)


def read_plain(path: Path, limit_bytes: int, *, follow: bool = False) -> bytes:
    """Return what a plain file holds, as `open_plain` opens it; raises OSError for one with more than `limit_bytes`."""
    with open_plain(path, follow=follow) as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise OSError(errno.EFBIG, f"larger than {limit_bytes >> 10:,} KiB", str(path))
    return content
