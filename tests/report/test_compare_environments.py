from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from repro_tui.report.compare import Environments, environments, hosts
from repro_tui.runs.compare import Pair
from repro_tui.runs.directory import RunDirectory
from tests.cli.project import ENVIRONMENT


def run_with(folder: Path, summary: dict[str, Any]) -> RunDirectory:
    folder.mkdir()
    run = RunDirectory(folder)
    run.environment.write_text(json.dumps(summary))
    return run


def test_packages_added_removed_and_changed_are_named(tmp_path: Path) -> None:
    other = copy.deepcopy(ENVIRONMENT)
    other["distributions"] = {
        "torch": {"version": "2.13.0", "sha256": "e" * 64}, "six": {"version": "1.17", "sha256": "a" * 64},
    }  # fmt: skip
    other["base"] = {}
    other["variables"] = {"OMP_NUM_THREADS": "2"}
    found = environments(run_with(tmp_path / "a", ENVIRONMENT), run_with(tmp_path / "b", other))
    assert found.added == (Pair("six (Python)", "", "1.17"),)
    assert found.removed == (Pair("bash (Debian)", "5.2", ""),)
    assert found.changed == (Pair("torch (Python)", "2.13.0", "2.13.0", "same version, other files"),)
    assert found.other == (Pair("OMP_NUM_THREADS (variables)", "1", "2"),)
    assert not found.same


def test_the_same_is_the_same_and_nothing_known_is_not(tmp_path: Path) -> None:
    one = run_with(tmp_path / "a", ENVIRONMENT)
    assert environments(one, one) == Environments()
    assert environments(one, one).same
    missing = environments(one, RunDirectory(tmp_path / "none"))
    assert not missing.same
    assert "no summary" in missing.unknown


def test_hosts(tmp_path: Path) -> None:
    one = run_with(tmp_path / "a", {**ENVIRONMENT, "host": {"cores": 2, "memory_bytes": 8_000_000_000, "gpus": []}})
    other = run_with(tmp_path / "b", {**ENVIRONMENT, "host": {"cores": 4, "cpu_flags": ["avx", "fma"]}})
    assert hosts(one, other) == [
        Pair("cores", "2", "4"), Pair("memory", "8.00 GB", ""), Pair("gpus", "", ""), Pair("cpu flags", "", "avx, fma"),
    ]  # fmt: skip
    assert hosts(RunDirectory(tmp_path / "none"), other)[0] == Pair("cores", "", "4")
