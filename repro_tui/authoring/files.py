"""Writes what an author asked for: whole or not at all, and over nothing that is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from repro_tui.errors import UsageError
from repro_tui.report.json import write_whole


def refuse_overwriting(paths: Sequence[Path], *, force: bool) -> None:
    """Raise UsageError where one of the files is there and may not be replaced."""
    there = [path for path in paths if path.is_symlink() or path.exists()]
    if there and (not force or any(path.is_dir() for path in there)):
        raise UsageError(
            f"{'this file is' if len(there) == 1 else 'these files are'} there already",
            where=", ".join(map(str, there)),
            hint="--force replaces it, -o FILE writes elsewhere",
        )


def write(path: Path, text: str) -> None:
    """Write a text file, and the folders above it, so that nothing half-written is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)


def way(start: Path, folder: Path) -> str:
    """Return the way from one folder to another as a prefix of paths: "", or ending in "/"."""
    relative = os.path.relpath(folder.resolve(), start.resolve())
    return "" if relative == "." else f"{relative}/"
