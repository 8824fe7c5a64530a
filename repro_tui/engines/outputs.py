"""What containers leave in writable folders: whose it is, and that nobody gains powers by running it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from repro_tui.engines.base import Mount


def disarm(mounts: Iterable[Mount]) -> None:
    """Take set-user-ID and set-group-ID from files in writable mounts: on the host they would act for the caller."""
    for path in _entries(mounts):
        with contextlib.suppress(OSError):
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                os.chmod(path, stat.S_IMODE(mode) & ~(stat.S_ISUID | stat.S_ISGID))


def give(mounts: Iterable[Mount], uid: int, gid: int) -> None:
    """Make writable mounts, with all that is in them, a user's; links themselves, not what they name."""
    for path in _entries(mounts):
        with contextlib.suppress(FileNotFoundError):
            os.lchown(path, uid, gid)


def _entries(mounts: Iterable[Mount]) -> Iterator[str]:
    for mount in mounts:
        if not mount.read_only:
            yield str(Path(mount.source).resolve())
            for folder, names, files in os.walk(mount.source):
                yield from (os.path.join(folder, name) for name in (*names, *files))
