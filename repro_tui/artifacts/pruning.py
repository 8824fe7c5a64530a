"""Shrinking the store: what was used longest ago goes first, what a live process uses stays.

Entries are decided on and moved out of the way while nobody can claim any (the gate); then they are deleted in peace.
Corrupt files in quarantine, the scratch of dead processes and lock files that nobody holds always go.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from repro_tui.artifacts.locking import open_lock_file, try_lock
from repro_tui.artifacts.store import Store, disk_errors

_Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the store: `name` is its path there, `used_at` its last use in seconds since the epoch.

    `files` has for each inode how often it occurs and its size in bytes: an image shares files with its layers, and
    what is shared is freed with its last link.
    """

    name: str
    used_at: float
    files: Mapping[_Inode, tuple[int, int]]

    @property
    def size_bytes(self) -> int:
        """Return how many bytes its files hold."""
        return sum(size_bytes for _, size_bytes in self.files.values())


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune removed (or would), what it left because it is in use, bytes freed, and bytes left in all."""

    removed: tuple[Entry, ...]
    in_use: tuple[Entry, ...]
    freed_bytes: int
    left_bytes: int


def entries(store: Store) -> list[Entry]:
    """Return everything in the store that can be removed by itself, longest unused first."""
    root = store.root
    kinds = [root / name for name in ("blobs", "trees", "partial", "quarantine")]
    found = [_entry(root, path) for kind in (*kinds, *_inside(root / "derived")) for path in _inside(kind)]
    return sorted((entry for entry in found if entry is not None), key=lambda entry: (entry.used_at, entry.name))


def prune(
    store: Store,
    *,
    everything: bool = False,
    max_bytes: int | None = None,
    older_than_s: float | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Remove what has not been used for `older_than_s`, and then the longest unused until `max_bytes` are left.

    `everything` removes all that no live process uses; a dry run only tells.
    """
    if not store.root.is_dir():
        return Pruned((), (), 0, 0)
    removed: list[Entry] = []
    in_use: list[Entry] = []
    with disk_errors(store.root), store.scratch() as trash:
        with _gate(store.root):
            found = entries(store)
            claimed = _claimed(store.root)
            sizes = _Sizes(found)
            oldest = time.time() - older_than_s if older_than_s is not None else float("-inf")
            for entry in found:
                too_much = max_bytes is not None and sizes.left_bytes > max_bytes
                corrupt = entry.name.startswith("quarantine/")
                if not (everything or too_much or corrupt or entry.used_at <= oldest):
                    continue
                if entry.name in claimed or not _take(store.root, entry, trash, dry_run=dry_run):
                    in_use.append(entry)
                else:
                    sizes.remove(entry)
                    removed.append(entry)
        if not dry_run:
            _drop_locks(store.root / "locks")
    return Pruned(tuple(removed), tuple(in_use), sizes.freed_bytes, sizes.left_bytes)


class _Sizes:
    """What is left as entries go: shared inodes count once."""

    def __init__(self, found: list[Entry]) -> None:
        self._links: Counter[_Inode] = Counter()
        sizes: dict[_Inode, int] = {}
        for entry in found:
            for inode, (count, size_bytes) in entry.files.items():
                self._links[inode] += count
                sizes[inode] = size_bytes
        self.left_bytes = sum(sizes.values())
        self.freed_bytes = 0

    def remove(self, entry: Entry) -> None:
        """Take an entry away."""
        for inode, (count, size_bytes) in entry.files.items():
            self._links[inode] -= count
            if not self._links[inode]:
                self.left_bytes -= size_bytes
                self.freed_bytes += size_bytes


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _entry(root: Path, path: Path) -> Entry | None:
    files: dict[_Inode, tuple[int, int]] = {}
    try:
        used_at = path.lstat().st_mtime
    except FileNotFoundError:
        return None
    for file in _files(path):
        with suppress(FileNotFoundError):
            status = os.lstat(file)
            inode = (status.st_dev, status.st_ino)
            files[inode] = (files.get(inode, (0, 0))[0] + 1, status.st_size)
    return Entry(path.relative_to(root).as_posix(), used_at, files)


def _files(path: Path) -> Iterator[str]:
    if path.is_dir() and not path.is_symlink():
        for parent, _, names in os.walk(path):
            for name in names:
                yield os.path.join(parent, name)
    else:
        yield str(path)


@contextmanager
def _gate(root: Path) -> Iterator[None]:
    """Keep every process from claiming entries meanwhile."""
    descriptor = open_lock_file(root / "locks" / "gate")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _claimed(root: Path) -> set[str]:
    """Return the entries that live processes use; the claims of dead ones are removed."""
    claimed: set[str] = set()
    for path in _inside(root / "users"):
        descriptor = try_lock(path)
        if descriptor is None:
            claimed.update(path.read_text(encoding="utf-8").splitlines())
        else:
            path.unlink(missing_ok=True)
            os.close(descriptor)
    return claimed


def _take(root: Path, entry: Entry, trash: Path, *, dry_run: bool) -> bool:
    """Move an entry out of the way in one step; False where it is in use or gone."""
    path = root / entry.name
    lock: int | None = None
    if path.parent.name == "partial":
        lock = try_lock(root / "locks" / f"download-{path.name}")
        if lock is None:
            return False
    try:
        if not dry_run:
            os.rename(path, trash / entry.name.replace("/", "-"))
    except FileNotFoundError:
        return False
    finally:
        if lock is not None:
            os.close(lock)
    return True


def _drop_locks(folder: Path) -> None:
    for path in _inside(folder):
        if path.name != "gate" and (descriptor := try_lock(path)) is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)
