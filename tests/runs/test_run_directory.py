from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from repro_tui.errors import InfrastructureError
from repro_tui.runs.directory import Liveness, RunDirectory

HOLD = """
import sys, time
from pathlib import Path
from repro_tui.runs.directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    time.sleep(60)
"""


@contextmanager
def worker(run: RunDirectory) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the run."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_names_are_unique_when_many_begin_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(lambda _: RunDirectory.create(tmp_path / "new" / "runs", "r8"), range(200)))
    assert len({run.id for run in runs}) == 200
    assert all(re.fullmatch(r"r8-\d{8}T\d{6}Z-[0-9a-f]{4}", run.id) for run in runs)


def test_the_container_s_user_may_look_in_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        run = RunDirectory.create(tmp_path, "r8")
    finally:
        os.umask(umask)
    for folder in (run.path, run.out, run.job, run.code, run.logs):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755, folder


def test_a_place_that_cannot_be_written_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError) as caught:
        RunDirectory.create(tmp_path / "file" / "runs", "r8")
    assert caught.value.hint
    assert "file" in caught.value.where


def test_a_worker_is_alive_until_it_is_killed(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "r8")
    assert run.liveness() is Liveness.STARTING
    with worker(run) as process:
        assert run.worker_alive()
        assert run.worker_pid() == process.pid
        assert run.liveness() is Liveness.RUNNING
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not run.worker_alive()
        assert run.liveness() is Liveness.ENDED


def test_a_run_that_never_got_a_worker_does_not_start_forever(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "r8")
    old = time.time() - 3600
    os.utime(run.path, (old, old))
    assert run.liveness() is Liveness.ENDED


def test_a_run_has_one_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro_tui.runs.directory._LOCK_PATIENCE_S", 0.05)
    run = RunDirectory.create(tmp_path, "r8")
    with worker(run) as process, pytest.raises(InfrastructureError, match=str(process.pid)), run.locked():
        pass


def test_asking_whether_it_lives_never_keeps_a_worker_out(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "r8")
    with run.locked():
        pass
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            run.worker_alive()

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(50):
            with run.locked():
                assert run.worker_alive()
    finally:
        done.set()
        for asker in askers:
            asker.join()


def test_cancel_is_asked_for_once(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "r8")
    assert run.cancel_requested() is None
    run.request_cancel("ada")
    run.request_cancel("bob")
    assert run.cancel_requested() == "ada"
    run.cancel_file.write_text("{half")
    assert run.cancel_requested() == "somebody"
