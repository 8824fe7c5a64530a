"""Files and folders of this host, by a path relative to the manifest."""

from __future__ import annotations

from pathlib import Path

from repro_tui.artifacts.sources.base import SourceUnavailableError


def find(base: Path, path: str, *, folder: bool) -> Path:
    """Return the file (or the folder) at a path. Raises SourceUnavailableError where there is none."""
    found = base / Path(path).expanduser()
    try:
        if folder and found.is_dir():
            return found
        if not folder and found.is_file():
            with found.open("rb"):
                return found
        reason = ("is a file, not a folder" if folder else "is not a file") if found.exists() else "is not there"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    raise SourceUnavailableError(f"{found} {reason}")
