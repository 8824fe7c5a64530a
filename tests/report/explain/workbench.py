"""A small experiment that is run, changed in one thing, and run again: on the engine without containers."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from repro_tui.manifest.trees import tree_digest, tree_files
from repro_tui.report.explain.explain import explain
from repro_tui.report.explain.model import Explanation
from repro_tui.report.explain.sides import Side, of_run
from repro_tui.runs.directory import RunDirectory
from tests.cli.project import ENVIRONMENT, Project

Change = Callable[[Project], None]

VARIABLES = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default", "PYTHONHASHSEED": "0",
}  # fmt: skip
HOST = {"cpu_vendor": "Acme", "cpu_model": "Acme One", "cores": 2, "driver": "", "gpus": []}
SUMMARY: dict[str, Any] = {**ENVIRONMENT, "variables": VARIABLES, "host": HOST}

SPLITS = '[splits.all]\nartifact = "numbers"\n[splits.part]\npart_of = "all"\nfraction = 0.5\nseed = 1\n'


class Bench:
    """Runs the experiment as it is, and once for every change."""

    def __init__(self, folder: Path) -> None:
        self.project = Project(folder, extra=SPLITS, wish={"environment": SUMMARY})
        self.project.write()
        self.project.change(f'hash = "{_line(self.project.manifest, "hash")}"\n', "")  # each run is as it is asked for
        self.project.change("absolute = 0.001", "absolute = 0.5")
        self._kept = {
            path: path.read_bytes()
            for path in (self.project.manifest, folder / "numbers.txt", folder / "lock.txt", folder / "code/train.py")
        }
        self.base = self.run()

    def change(self, change: Change) -> None:
        """Change one thing of the experiment as it was at first."""
        for path, content in self._kept.items():
            path.write_bytes(content)
        self.project.wish = {"environment": copy.deepcopy(SUMMARY)}
        change(self.project)

    def run(self, change: Change = lambda _: None) -> RunDirectory:
        """Run it with one thing changed."""
        self.change(change)
        before = set(self.project.runs.iterdir()) if self.project.runs.is_dir() else set()
        done = self.project.run()
        assert done.code in {0, 1, 5}, done.err
        (folder,) = set(self.project.runs.iterdir()) - before
        return RunDirectory(folder)

    def as_if_run(self, change: Change, folder: Path) -> RunDirectory:
        """Return the first run as it would be with one thing changed: its manifest, what the probe saw, no record."""
        self.change(change)
        run = RunDirectory(shutil.copytree(self.base.path, folder / "run"))
        run.manifest.write_bytes(self.project.manifest.read_bytes())
        run.environment.write_text(json.dumps(self.project.wish["environment"]))
        run.record.unlink()
        return run

    def side(self, run: RunDirectory) -> Side:
        return of_run(run, store=self.project.folder / "store")

    def explain(self, run: RunDirectory) -> Explanation:
        """Compare the first run with another one."""
        return explain(self.side(self.base), self.side(run))


def _line(path: Path, key: str) -> str:
    line = next(line for line in path.read_text().splitlines() if line.startswith(f"{key} = "))
    return str(json.loads(line.partition(" = ")[2]))


def edit(project: Project, old: str, new: str) -> None:
    """Change the manifest by hand."""
    project.change(old, new)


def repin(project: Project, name: str, content: str) -> None:
    """Change a file and pin it anew."""
    file = project.folder / name
    old_digest, old_size = hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size
    file.write_text(content)
    project.change(old_digest, hashlib.sha256(content.encode()).hexdigest())
    if name == "numbers.txt":
        project.change(f"bytes = {old_size}", f"bytes = {len(content)}")


def recode(project: Project, old: str, new: str) -> None:
    """Change the script and pin it anew."""
    folder = project.folder / "code"
    script = folder / "train.py"
    digest, size = tree_digest(tree_files(folder)), script.stat().st_size
    script.write_text(script.read_text().replace(old, new))
    project.change(digest, tree_digest(tree_files(folder)))
    project.change(f"bytes = {size}", f"bytes = {script.stat().st_size}")
