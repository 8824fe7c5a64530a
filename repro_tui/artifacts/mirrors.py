"""Mirror folders: places on this host that hold files by digest, looked into before any source.

A mirror is a folder with a `SHA256SUMS` file (as `sha256sum` writes it), or with files named by their digest, with or
without a suffix, in the folder itself or in `sha256/`, `blobs/` or `blobs/sha256/` (so a store, or an OCI layout, is a
mirror too). A folder named by a tree digest, there or in `trees/`, serves that tree.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

from repro_tui.errors import UsageError

ENV_MIRROR = "REPRO_TUI_MIRROR"
"""Environment variable that names more mirrors, separated as in PATH."""

_NAMED = re.compile(r"([0-9a-f]{64})(\..*)?")
_FOLDERS = ("", "sha256", "blobs", "blobs/sha256", "trees")


def mirrors_from(options: Sequence[str | Path], environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return the mirrors named by options and then those of the environment, each once.

    Raises UsageError for one that is no folder: a mirror that is silently not there would turn into a download.
    """
    named = [(str(option), "--mirror") for option in options]
    named += [(part, ENV_MIRROR) for part in environ.get(ENV_MIRROR, "").split(os.pathsep) if part]
    folders: dict[Path, None] = {}
    for name, origin in named:
        folder = Path(name).expanduser().absolute()
        if not folder.is_dir():
            raise UsageError(f"the mirror {name} is not a folder", where=origin, hint="name a folder that exists")
        folders[folder] = None
    return tuple(folders)


class Mirror:
    """One mirror folder; what it holds is read on first use, and again when its SHA256SUMS changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._guard = Lock()
        self._seen: tuple[tuple[int, int] | None, ...] = ()
        self._files: dict[str, list[Path]] = {}

    def files(self, sha256: str) -> list[Path]:
        """Return the files listed under a digest that are there (unchecked), plain ones first in the order listed."""
        with self._guard:
            self._read()
            return [path for path in self._files.get(sha256, ()) if path.is_file()]

    def tree(self, tree_sha256: str) -> Path | None:
        """Return the folder named by a tree digest (unchecked), or None."""
        with self._guard:
            self._read()
            return next((path for path in self._files.get(tree_sha256, ()) if path.is_dir()), None)

    def _read(self) -> None:
        from repro_tui.manifest.folder_listing import parse_line

        watched = [self.folder / "SHA256SUMS", *(self.folder / name for name in _FOLDERS)]
        seen = tuple(_state(path) for path in watched)
        if seen == self._seen:
            return
        files: dict[str, list[Path]] = {}
        sums, *folders = watched
        if sums.is_file():
            with sums.open(encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
                for line in lines:
                    if listed := parse_line(line):
                        files.setdefault(listed[0], []).append(self.folder / listed[1])
        for folder in folders:
            if folder.is_dir():
                for name in sorted(os.listdir(folder)):
                    if found := _NAMED.fullmatch(name):
                        files.setdefault(found[1], []).append(folder / name)
        self._files, self._seen = files, seen


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
