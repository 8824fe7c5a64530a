"""Locks between processes that vanish with the process that holds them (flock)."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def open_lock_file(path: Path) -> int:
    """Open (or create) a lock file and return its descriptor; its mode does not depend on the umask."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with suppress(PermissionError):  # created by another user: it opened, so it serves
        os.fchmod(descriptor, 0o644)
    return descriptor


def _is_still_there(descriptor: int, path: Path) -> bool:
    """Tell whether the path still names the open file: a sweeper may have unlinked it before it was locked."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def try_lock(path: Path) -> int | None:
    """Take the lock and return its descriptor (closing it releases the lock), or None where a live process has it."""
    while True:
        descriptor = open_lock_file(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if _is_still_there(descriptor, path):
            return descriptor
        os.close(descriptor)


def lock_new(path: Path) -> int:
    """Create a lock file that did not exist, and lock it. Raises FileExistsError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        os.fchmod(descriptor, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_still_there(descriptor, path):
            return descriptor
        os.close(descriptor)  # a sweeper met it between its creation and its lock


@contextmanager
def locked(path: Path, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock; `on_wait` is called once if another process has it, before waiting for that one."""
    descriptor = try_lock(path)
    if descriptor is None and on_wait is not None:
        on_wait()
    while descriptor is None:
        waiting = open_lock_file(path)
        try:
            fcntl.flock(waiting, fcntl.LOCK_EX)
        except BaseException:
            os.close(waiting)
            raise
        if _is_still_there(waiting, path):
            descriptor = waiting
        else:
            os.close(waiting)
    try:
        yield
    finally:
        os.close(descriptor)


class ClaimsFile:
    """What one process uses, one name a line, in a file of `users` that is locked while the process lives.

    `gate` is a lock file that whoever decides what nobody uses holds meanwhile.
    """

    def __init__(self, users: Path, gate: Path) -> None:
        self._path = users / secrets.token_hex(8)
        self._file = lock_new(self._path)
        self._gate = open_lock_file(gate)

    def add(self, name: str) -> None:
        """Write a claim; waits while a prune is deciding what nobody uses."""
        fcntl.flock(self._gate, fcntl.LOCK_SH)
        try:
            os.write(self._file, f"{name}\n".encode())
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give up the claims."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)
        os.close(self._gate)
