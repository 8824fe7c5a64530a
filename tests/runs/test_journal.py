from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from repro_tui.events import Notice, StageStarted, from_line
from repro_tui.runs.journal import Journal

FULL = """
import resource, sys
from pathlib import Path
from repro_tui.errors import StoreFullError
from repro_tui.events import Notice
from repro_tui.runs.journal import Journal
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with Journal(Path(sys.argv[1])) as journal:
    try:
        for _ in range(100):
            journal.append(Notice(at=1.0, level="info", message="x" * 50))
    except StoreFullError as error:
        print(error.where)
"""


def test_lines_of_many_threads_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path) as journal, ThreadPoolExecutor(8) as pool:
        events = [Notice(at=float(number), level="info", message=f"{number}\n" * number) for number in range(300)]
        list(pool.map(journal.append, events))
    lines = path.read_bytes().splitlines()
    assert sorted((from_line(line) for line in lines), key=lambda event: event.at if event else 0) == events


def test_half_a_line_of_a_killed_worker_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(StageStarted(at=1.0, stage="image").to_line().encode() + b'{"kind": "stage_st')
    with Journal(path) as journal:
        journal.append(StageStarted(at=2.0, stage="train"))
    lines = path.read_bytes().split(b"\n")
    assert from_line(lines[0]) == StageStarted(at=1.0, stage="image")
    assert from_line(lines[2]) == StageStarted(at=2.0, stage="train")


def test_a_full_disk_is_an_error_and_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(path)
    content = path.read_bytes()
    assert content.endswith(b"\n")
    assert 5 < len([from_line(line) for line in content.splitlines()]) < 100


def test_text_that_is_no_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path) as journal:
        journal.append(Notice(at=1.0, level="error", message="no such file: \udcff"))
    assert isinstance(from_line(path.read_bytes()), Notice)
