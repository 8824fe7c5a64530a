"""The environment probe against `sha256sum` run in parallel over all cores, on the same files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.common import Figure, SkipBenchmark, alternate, median, spread
from repro_tui.verify.environment import PROBE

ENV_ROOT = "REPRO_BENCH_ROOT"
"""Folder to hash instead of the newest image root in the store."""
_ROUNDS = 5


def measure() -> list[Figure]:
    """Measure on an image's root, in turns; both sides read from the page cache, filled by a first round."""
    root = _root()
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)

        def probe() -> None:
            command = [sys.executable, "-I", str(PROBE), str(out), "--root", str(root)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

        probe()
        files = [json.loads(line) for line in (out / "files.jsonl").read_text(encoding="utf-8").splitlines()]
        paths = out / "paths"
        paths.write_text("".join(f".{each['path']}\0" for each in files if each["type"] == "file"), encoding="utf-8")

        def sums() -> None:
            cores = len(os.sched_getaffinity(0))
            with paths.open("rb") as names:
                command = ["xargs", "-0", "-n", "256", "-P", str(cores), "sha256sum"]
                subprocess.run(command, check=True, cwd=root, stdin=names, stdout=subprocess.DEVNULL)

        alternate([probe, sums], 1)
        ours, theirs = alternate([probe, sums], _ROUNDS)
        facts = json.loads((out / "environment.json").read_text(encoding="utf-8"))["probe"]
    size = f"{facts['files']} files, {facts['bytes'] / 1e9:.2f} GB"
    return [
        Figure(
            name="environment probe / sha256sum on all cores",
            value=median(ours) / median(theirs),
            limit=0.6,
            unit="times",
            detail=f"{spread(ours, 2)} against {spread(theirs, 2)}, {size}",
        )
    ]


def _root() -> Path:
    """Return the folder to hash; raises SkipBenchmark where nothing like an environment is at hand."""
    named = os.environ.get(ENV_ROOT)
    if named:
        return Path(named).resolve()
    from repro_tui.artifacts.store import default_store_path

    roots = list(default_store_path().glob("derived/images/*/root"))
    if not roots:
        raise SkipBenchmark(f"no assembled image in the store (`repro-tui image build torch-cpu`), and no {ENV_ROOT}")
    return max(roots, key=lambda path: path.stat().st_mtime)
