"""A GitHub Actions workflow that runs a manifest without a terminal, and a badge of its last verdict."""

from __future__ import annotations

import json
import re
from pathlib import Path

from repro_tui import __version__
from repro_tui.authoring.files import refuse_overwriting, write
from repro_tui.errors import UsageError
from repro_tui.events import Verdict
from repro_tui.manifest.loading import inspect
from repro_tui.report.badge import badge
from repro_tui.runs.catalog import list_runs

WORKFLOW = Path(".github", "workflows", "repro-tui.yml")
BADGE = Path(".github", "repro-tui.svg")
_VERDICTS = frozenset(Verdict)

_TEXT = """\
# Runs the manifest and fails unless it is REPRODUCED. The report, the record and the badge are kept as an artifact.
name: reproduce

on:
  push:
    branches: [main]
  pull_request:
  workflow_dispatch:

permissions:
  contents: read

concurrency:
  group: reproduce-${{ github.ref }}
  cancel-in-progress: true

jobs:
  reproduce:
    runs-on: ubuntu-24.04
    timeout-minutes: @MINUTES@
    env:
      MANIFEST: @MANIFEST@
      REPRO_TUI_STORE: ${{ github.workspace }}/.repro-tui-store
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: Keep the image and the data between runs
        uses: actions/cache@v4
        with:
          path: .repro-tui-store
          key: repro-tui-${{ hashFiles(env.MANIFEST) }}
          restore-keys: repro-tui-
      - name: Install repro-tui
        run: pip install "repro-tui==@VERSION@"
      - name: Check the manifest
        run: repro-tui check "$MANIFEST"
      - name: Run it to a verdict
        id: run
        run: |
          mkdir -p reproduction
          code=0
          repro-tui run "$MANIFEST" --runs runs --json > reproduction/report.json || code=$?
          echo "code=$code" >> "$GITHUB_OUTPUT"
          exit "$code"
      - name: Put the badge and the report together
        if: ${{ !cancelled() && steps.run.outputs.code != '' }}
        run: |
          cp runs/*/report.md runs/*/record.json reproduction/ || true
          cat reproduction/report.md >> "$GITHUB_STEP_SUMMARY" || true
          repro-tui export badge last --runs runs -o reproduction/badge.svg
      - uses: actions/upload-artifact@v4
        if: ${{ !cancelled() && steps.run.outputs.code != '' }}
        with:
          name: reproduction
          path: reproduction/
          if-no-files-found: error
"""


def write_ci(manifest: Path, *, force: bool) -> list[Path]:
    """Write workflow and badge into the repository that holds the manifest; return where they are.

    Raises UsageError where there is no such manifest, and where a file is there already.
    """
    if not manifest.is_file():
        raise UsageError("there is no such manifest", where=str(manifest), hint="repro-tui init --ci MANIFEST")
    root = _repository(manifest.resolve().parent)
    relative = manifest.resolve().relative_to(root).as_posix()
    paths = [root / WORKFLOW, root / BADGE]
    refuse_overwriting(paths, force=force)
    loaded = inspect(manifest).loaded
    limit_s = loaded.manifest.resources.time_limit_s if loaded is not None else 7200
    write(paths[0], workflow_text(relative, minutes=min(360, limit_s // 60 + 60)))
    write(paths[1], badge(_last_verdict(root, manifest)))
    return paths


def workflow_text(manifest: str, *, minutes: int) -> str:
    """Return the workflow; `manifest` is relative to the repository's root."""
    filled = {"@MANIFEST@": json.dumps(manifest), "@MINUTES@": str(minutes), "@VERSION@": __version__}
    return re.sub("|".join(filled), lambda found: filled[found[0]], _TEXT)


def _repository(folder: Path) -> Path:
    """Return the repository's root, the folder itself where it is in none."""
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), folder)


def _last_verdict(root: Path, manifest: Path) -> Verdict | None:
    """Return the verdict of the newest finished run of this experiment in ./runs, None where there is none."""
    loaded = inspect(manifest).loaded
    if loaded is None:
        return None
    for folder in dict.fromkeys((Path("runs"), root / "runs")):
        for entry in list_runs(folder) if folder.is_dir() else ():
            if entry.experiment == loaded.manifest.experiment.name and entry.status in _VERDICTS:
                return Verdict(entry.status)
    return None
