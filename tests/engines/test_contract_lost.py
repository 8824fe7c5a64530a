"""What every real engine promises: what is left, and said, when a worker or a container is killed from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repro_tui.engines.base import EndReason
from tests.engines.engine_bench import (
    PYTHON,
    Bench,
    host_processes,
    is_held,
    kill,
    remove_behind,
    wait_for,
    wait_for_text,
)

pytestmark = pytest.mark.engine


def test_a_container_removed_behind_our_back_is_lost(bench: Bench) -> None:
    running = bench.start_python("import time; print('ready', flush=True); time.sleep(300)", bench.name)
    wait_for_text(bench.log, "ready")
    remove_behind(bench.engine, f"repro-tui-test-{bench.name}-1")
    outcome = running.wait(60)
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == (EndReason.LOST, None)
    assert outcome.detail
    assert bench.log.read_text() == "ready\n"
    wait_for(lambda: not host_processes(bench.name), "nothing is left")


WORKER = """
import sys, time
from pathlib import Path
from repro_tui.engines.base import ContainerSpec, Limits, Mount
from repro_tui.engines.choose import ENGINES
from repro_tui.images.model import Image, Layer
engine = ENGINES[sys.argv[1]]()
folder, out, name = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[5]
image = Image("tiny", "linux/amd64", sys.argv[6], sys.argv[7], (Layer(sys.argv[8], 0, "all"),), folder / "layout", folder / "root",
              folder / "inventory.jsonl")
print("starting", flush=True)
running = engine.start(image, ContainerSpec(
    name=name, run_id="killed", argv=[sys.argv[4], "-I", "-S", "-c",
    "import sys, time; print('alive', flush=True); time.sleep(300)", sys.argv[9]],
    environment={"PATH": "/bin", "HOME": "/tmp"}, log=out.parent / "killed.log", limits=Limits(memory_bytes=1 << 30, processes=50),
    mounts=[Mount(out, "/out", read_only=False)]))
print("started", flush=True)
running.wait()
"""


def start_worker(bench: Bench) -> tuple[subprocess.Popen[str], str, str]:
    """Return a process that is about to start a container, the container's name, and a word in its arguments."""
    name, mark, image = f"repro-tui-test-{bench.name}", f"{bench.name}.mark", bench.image
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, bench.engine.name, str(image.root.parent), str(bench.out), PYTHON, name,
         image.manifest_digest, image.config_digest, image.layers[0].digest, mark],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    bench.workers.append(worker)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "starting\n"
    return worker, name, mark


@pytest.mark.parametrize("delay_s", [None, 0.0, 0.005, 0.01, 0.02, 0.05, 0.2], ids=lambda value: f"{value}")
def test_a_killed_worker_leaves_nothing(bench: Bench, delay_s: float | None) -> None:
    """SIGKILL while the container is being started (after a delay), and while it runs (None)."""
    worker, name, mark = start_worker(bench)
    if delay_s is None:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "started\n"
        wait_for_text(bench.folder / "killed.log", "alive")
        assert host_processes(mark)
    else:
        time.sleep(delay_s)
    kill(worker)
    time.sleep(0.5)
    wait_for(lambda: not host_processes(mark) and not host_processes(name), "nothing is left", 20)
    wait_for(lambda: not is_held(bench.engine, name), "no container is left", 20)
    wait_for(
        lambda: not list(Path("/sys/fs/cgroup").rglob(f"repro-tui-{worker.pid}-*")), "no control group is left", 20
    )


def test_sweep_removes_what_a_dead_worker_left(bench: Bench) -> None:
    """As above with the guard killed first, so that only the next worker's sweep can help."""
    worker, name, mark = start_worker(bench)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "started\n"
    for pid in host_processes("repro_tui.engines.guard"):
        if f"/{worker.pid}/" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)
    kill(worker)
    swept = bench.engine.sweep()
    assert swept == ([name] if bench.engine.name == "docker" else swept)
    wait_for(lambda: not host_processes(mark) and not is_held(bench.engine, name), "nothing is left", 20)
