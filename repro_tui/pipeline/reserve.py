"""Some space on the run's device, given back when something fails, so that a full disk can still be reported."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_BYTES = 512 << 10


class Reserve:
    """A file of half a megabyte that is really there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _BYTES)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give the space back; again does nothing."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
