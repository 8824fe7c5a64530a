"""Real runs of every verdict, as their directories were left (tests/tui/record.py made them)."""

from __future__ import annotations

import tomllib
from pathlib import Path

from repro_tui.manifest.models import Manifest
from repro_tui.report import json
from repro_tui.report.model import Report
from repro_tui.runs.directory import RunDirectory

FOLDER = Path(__file__).parents[1] / "tui" / "recorded"
ENDED = ("cancelled", "differs", "drift", "failed", "inconclusive", "reproduced")
MANIFESTS = Path(__file__).parents[2] / "manifests"


def run(name: str) -> RunDirectory:
    """Return a recorded run."""
    return RunDirectory(FOLDER / name)


def report(name: str) -> Report:
    """Return a recorded run's report."""
    return json.read(run(name).report)


def manifest(path: Path) -> Manifest:
    """Return a manifest without looking at the files that it pins."""
    return Manifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
