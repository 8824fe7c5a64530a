"""Worker processes end when what uses them fails, at once, and leave nothing that could hang."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """\
import sys, threading, time
from pathlib import Path
from repro_tui.images.workers import workers

def job(folder, number, ballast):
    Path(folder, f"{number}.begun").touch()
    time.sleep(0 if number == 0 else 120)
    Path(folder, f"{number}.ended").touch()
    if number == 0 and sys.argv[2] == "fails":
        raise ValueError("a job that fails")

if __name__ == "__main__":
    folder = sys.argv[1]

    def cancel(_weight):
        raise KeyboardInterrupt

    try:
        with workers(2) as pool:  # large arguments: the queue to the processes is full when they are killed
            pool.run([(job, (folder, number, b"x" * 1_000_000), 1) for number in range(9)], cancel)
    except BaseException as error:
        print(type(error).__name__, flush=True)
"""


@pytest.mark.parametrize(("how", "error"), [("fails", "ValueError"), ("cancelled", "KeyboardInterrupt")])
def test_they_are_killed_and_the_process_ends(tmp_path: Path, how: str, error: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), how], capture_output=True, text=True, timeout=60, check=True
    )
    assert time.monotonic() - started < 30
    assert done.stdout == f"{error}\n"
    assert "InvalidStateError" not in done.stderr
    assert len(list(tmp_path.glob("*.ended"))) == 1
    assert len(list(tmp_path.glob("*.begun"))) <= 3
