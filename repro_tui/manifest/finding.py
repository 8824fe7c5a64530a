"""The manifests in a folder, the faulty ones with what is wrong: what a person chooses from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from repro_tui.manifest.loading import MAX_BYTES, LoadedManifest, inspect
from repro_tui.manifest.problems import Problem

_MARKS = re.compile(r"^\s*(schema\s*=|\[experiment\])", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest, or a file that is meant to be one: `loaded` is None where it has problems."""

    path: Path
    loaded: LoadedManifest | None
    problems: tuple[Problem, ...] = ()

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


def find_manifests(folder: Path) -> list[Found]:
    """Return the manifests in a folder, by file name; a TOML file that is something else is passed over."""
    try:
        files = sorted(file for file in folder.glob("*.toml") if file.is_file())
    except OSError:
        return []
    return [look_at(file) for file in files if _meant(file)]


def look_at(path: Path) -> Found:
    """Return one file as a manifest, or with its problems."""
    inspection = inspect(path)
    return Found(path, inspection.loaded, inspection.problems)


def _meant(file: Path) -> bool:
    """Say whether a file is meant to be a manifest: it names its schema, or the experiment."""
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return True
    return _MARKS.search(text) is not None
