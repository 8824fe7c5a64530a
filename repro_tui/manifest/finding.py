"""The manifests in a folder, the faulty ones with what is wrong: what a person chooses from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from repro_tui.errors import ReproError
from repro_tui.manifest.loading import MAX_BYTES, LoadedManifest, inspect, load_loose
from repro_tui.manifest.problems import Problem

_MARKS = re.compile(r"^\s*(schema\s*=|\[experiment\])", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest, or a file that is meant to be one: `loaded` is None where it has problems."""

    path: Path
    loaded: LoadedManifest | None
    problems: tuple[Problem, ...] = ()
    loose: bool = False
    """Whether pins are all that it lacks: `repro-tui lock` finds them out."""

    @property
    def name(self) -> str:
        """Name of the experiment; of the file where it is not known."""
        return self.path.stem if self.loaded is None else self.loaded.manifest.experiment.name

    @property
    def fault(self) -> str:
        """The first problem on one line: where, what was found, what is allowed."""
        if not self.problems:
            return ""
        first = self.problems[0]
        place = f"line {first.line}: " if first.line is not None else ""
        key = f"{first.toml_path}: " if first.toml_path else ""
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        return f"{place}{key}{first.found}; allowed: {first.allowed}{more}"


class Shelf:
    """The manifests in one folder, by file name; a TOML file that is something else is passed over.

    Looked at again and again, it reads only what has changed since.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[Path, tuple[tuple[int, int], Found | None]] = {}

    def look(self) -> list[Found]:
        """Return what is there now."""
        try:
            files = sorted(file for file in self.folder.glob("*.toml") if file.is_file())
            stamps = {file: _stamp(file) for file in files}
        except OSError:
            return []
        known, self._known = self._known, {}
        for file, stamp in stamps.items():
            before = known.get(file)
            same = before is not None and before[0] == stamp
            self._known[file] = before if same and before else (stamp, look_at(file) if _meant(file) else None)
        return [found for _, found in self._known.values() if found is not None]

    def forget(self) -> None:
        """Read everything again the next time: a file that a manifest pins may have changed."""
        self._known.clear()


def look_at(path: Path) -> Found:
    """Return one file as a manifest, or with its problems."""
    inspection = inspect(path)
    return Found(path, inspection.loaded, inspection.problems, inspection.loaded is None and _is_loose(path))


def _is_loose(path: Path) -> bool:
    try:
        return bool(load_loose(path)[1])
    except ReproError:
        return False


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size


def _meant(file: Path) -> bool:
    """Say whether a file is meant to be a manifest: it names its schema, or the experiment."""
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return True
    return _MARKS.search(text) is not None
