"""The journal: events.jsonl, append-only, one write a line."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from repro_tui.errors import StoreFullError
from repro_tui.events import Event


class Journal:
    """Appends events to a file; any thread may. A reader never sees two lines mixed, and at most one half line.

    Raises StoreFullError where no space is left: the journal then ends with the last whole line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._end_half_line()

    def append(self, event: Event) -> None:
        """Append one event."""
        data = event.to_line().encode("utf-8", "backslashreplace")
        with self._lock:
            before = os.fstat(self._descriptor).st_size
            try:
                written = os.write(self._descriptor, data)
            except OSError as error:
                raise self._full(error.strerror or str(error)) from None
            if written < len(data):
                with suppress(OSError):
                    os.ftruncate(self._descriptor, before)
                raise self._full("no space left on the device")

    def close(self) -> None:
        """Make what was written safe, and close; closing again does nothing."""
        with self._lock:
            if self._descriptor >= 0:
                with suppress(OSError):
                    os.fsync(self._descriptor)
                os.close(self._descriptor)
                self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end_half_line(self) -> None:
        """A worker that was killed may have left half a line: end it, so that the next one is whole."""
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")

    def _full(self, reason: str) -> StoreFullError:
        return StoreFullError(
            f"the journal cannot be written: {reason}",
            where=str(self._path),
            hint="free some space on the device of the run directory",
        )
