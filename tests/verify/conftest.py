"""Image roots to probe."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from repro_tui.verify.environment import PROBE, read_summary
from tests.verify.image_roots import ENVIRONMENT, Probe, make_root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image root of its own for each test."""
    return make_root(tmp_path / "root")


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    """Run the probe over a root; its files are left in `out`, a folder beside it."""

    def run(
        root: Path, out: str = "out", *, python: str = sys.executable, environment: Mapping[str, str] = ENVIRONMENT
    ) -> dict[str, Any]:
        folder = tmp_path / out
        folder.mkdir(exist_ok=True)
        command = [python, "-I", str(PROBE), str(folder), "--root", str(root)]
        subprocess.run(command, check=True, env=dict(environment), timeout=60)
        return read_summary(folder / "environment.json")

    return run
