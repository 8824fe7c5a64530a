"""What every real engine promises: limits that are really in force."""

from __future__ import annotations

import pytest

from repro_tui.engines.base import EndReason, Limits
from tests.engines.engine_bench import Bench

pytestmark = pytest.mark.engine

MIB = 1 << 20


def test_the_time_limit_ends_it(bench: Bench) -> None:
    outcome = bench.run("import time; print('x', flush=True); time.sleep(100)", limits=Limits(time_s=1.0))
    assert outcome.reason is EndReason.TIME_LIMIT
    assert 1 <= outcome.elapsed_s < 20
    assert bench.log.read_text() == "x\n"


def test_memory_past_the_limit_ends_it(bench: Bench) -> None:
    outcome = bench.run(
        "held = []\nwhile True: held.append(bytearray(8 << 20))", limits=Limits(memory_bytes=256 * MIB, time_s=100)
    )
    assert (outcome.reason, outcome.exit_code) == (EndReason.OUT_OF_MEMORY, 137)
    assert outcome.peak_memory_bytes >= 200 * MIB


def test_a_killed_process_under_a_memory_limit_is_not_out_of_memory(bench: Bench) -> None:
    outcome = bench.run("import os; os.kill(os.getpid(), 9)", limits=Limits(memory_bytes=256 * MIB))
    assert outcome.reason is EndReason.SIGNALLED


def test_processes_past_the_limit_are_refused_or_end_it(bench: Bench) -> None:
    outcome = bench.run(
        "import os, sys, time\n"
        "try:\n"
        "    for _ in range(100):\n"
        "        if os.fork() == 0: time.sleep(30); os._exit(0)\n"
        "except BlockingIOError:\n    sys.exit(42)\n"
        "time.sleep(20)",
        limits=Limits(processes=20, time_s=60),
    )
    if bench.engine.capabilities()["processes"].startswith("enforced"):
        assert (outcome.reason, outcome.exit_code) == (EndReason.EXITED, 42)
    else:
        assert outcome.reason is EndReason.SIGNALLED
        assert "processes of 20" in outcome.detail


def test_cpus_are_limited(bench: Bench) -> None:
    code = (
        "import os, time, json\n"
        "children = 2\n"
        "for _ in range(children):\n"
        "    if os.fork() == 0:\n"
        "        end = time.monotonic() + 1.5\n"
        "        while time.monotonic() < end: pass\n"
        "        os._exit(0)\n"
        "for _ in range(children): os.wait()\n"
        "spent = os.times()\n"
        "print(json.dumps(spent.children_user + spent.children_system))"
    )
    assert bench.ask(code, limits=Limits(cpus=1.0, time_s=60)) < 1.5 * 1.35


def test_shared_memory_and_tmp_have_their_size(bench: Bench) -> None:
    sizes = bench.ask(
        "print(json.dumps([os.statvfs(p).f_blocks * os.statvfs(p).f_frsize for p in ('/dev/shm', '/tmp')]))",
        limits=Limits(shared_memory_bytes=32 * MIB, memory_bytes=512 * MIB),
    )
    assert sizes == [32 * MIB, 512 * MIB]


def test_shared_memory_past_its_size_is_refused(bench: Bench) -> None:
    error = bench.ask(
        "try:\n    with open('/dev/shm/full', 'wb') as file:\n        for _ in range(64): file.write(bytes(1 << 20))\n"
        "except OSError as error: print(json.dumps(error.strerror))",
        limits=Limits(shared_memory_bytes=32 * MIB, memory_bytes=512 * MIB, time_s=60),
    )
    assert error == "No space left on device"


def test_a_worker_of_the_command_that_runs_out_of_memory_is_told(bench: Bench) -> None:
    """A data loader's process dies, not the main one: the end is out of memory nevertheless."""
    outcome = bench.run(
        "import os, sys\npid = os.fork()\nif pid == 0:\n    held = []\n    while True: held.append(bytearray(8 << 20))\n"
        "sys.exit(1 if os.waitpid(pid, 0)[1] else 0)",
        limits=Limits(memory_bytes=256 * MIB, time_s=100),
    )
    assert outcome.reason is EndReason.OUT_OF_MEMORY
