from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from repro_tui.errors import UsageError
from repro_tui.events import ResourceSample, RunFinished, RunStarted, Verdict
from repro_tui.runs.catalog import find_run, list_runs
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.journal import Journal


def make(root: Path, name: str, at: float, *, finished: bool = True, samples: int = 0) -> RunDirectory:
    run = RunDirectory(root / name)
    run.path.mkdir(parents=True)
    run.worker_lock.write_text("1\n")
    with Journal(run.events) as journal:
        journal.append(
            RunStarted(at=at, run_id=name, experiment="r8", title="R8", manifest="m", stages=(), version="1", pid=1)
        )
        for number in range(samples):
            journal.append(ResourceSample(at=at + number, cpu_percent=1.0, memory_bytes=1))
        if finished:
            journal.append(RunFinished(at=at + 60, verdict=Verdict.METRICS_DIFFER, exit_code=1, summary="s"))
    return run


def test_runs_are_listed_newest_first_each_with_its_end(tmp_path: Path) -> None:
    make(tmp_path, "r8-1", 1000.0)
    make(tmp_path, "r8-2", 2000.0, finished=False, samples=3000)
    alive = make(tmp_path, "r8-3", time.time() - 10, finished=False)
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").write_text("")
    broken = RunDirectory(tmp_path / "broken")
    broken.path.mkdir()
    broken.events.write_bytes(b'\xff\x00{"kind": "run_started"}\n{"kind": "run_started", "at": "x", "run_id": 1}\n')
    os.utime(broken.path, (1, 1))
    (tmp_path / "folder-as-journal" / "events.jsonl").mkdir(parents=True)
    os.utime(tmp_path / "folder-as-journal", (1, 1))
    with alive.locked():
        entries = {entry.run.id: entry for entry in list_runs(tmp_path)}
        assert list(entries)[:3] == ["r8-3", "r8-2", "r8-1"]
    assert {name: entry.status for name, entry in entries.items()} == {
        "r8-3": "running", "r8-2": "died", "r8-1": "METRICS DIFFER", "broken": "broken", "folder-as-journal": "broken",
    }  # fmt: skip
    assert (entries["r8-1"].exit_code, entries["r8-1"].duration_s) == (1, 60.0)
    assert entries["r8-2"].duration_s == 2999.0, "until the last thing it said"
    assert 9 < (entries["r8-3"].duration_s or 0) < 60


def test_a_folder_that_is_not_there_has_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "missing") == []


def test_a_run_is_found_by_what_a_person_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "runs"
    one = make(root, "r8-20260101T000000Z-abcd", 1000.0)
    two = make(root, "r8-20260102T000000Z-abce", 2000.0)
    assert find_run(root, one.id) == one
    assert find_run(root, "last") == two
    assert find_run(root, "r8-20260102") == two
    assert find_run(tmp_path / "elsewhere", str(one.path)).path == one.path.resolve()
    monkeypatch.chdir(one.path)
    assert find_run(root, ".").path == one.path.resolve()
    with pytest.raises(UsageError, match="any of 2 runs") as several:
        find_run(root, "r8-")
    assert one.id in several.value.message
    with pytest.raises(UsageError, match="no run 'other'") as none:
        find_run(root, "other")
    assert two.id in none.value.hint
    with pytest.raises(UsageError):
        find_run(root, "")
    with pytest.raises(UsageError):
        find_run(tmp_path / "empty", "last")
