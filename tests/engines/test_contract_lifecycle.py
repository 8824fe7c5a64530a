"""What every real engine promises: how a container starts, ends, and is ended."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from repro_tui.engines.base import EndReason, Limits, Mount
from tests.engines.engine_bench import Bench, host_processes, wait_for_text

pytestmark = pytest.mark.engine

MIB = 1 << 20


def test_exit_codes_are_the_commands(bench: Bench) -> None:
    for code in (0, 1, 3, 127):
        outcome = bench.run(f"raise SystemExit({code})")
        assert (outcome.reason, outcome.exit_code) == (EndReason.EXITED, code)
        assert outcome.ok == (code == 0)
        assert 0 < outcome.elapsed_s < 30


def test_a_command_that_is_not_there_ends_like_in_a_shell(bench: Bench) -> None:
    outcome = bench.start("/usr/bin/no-such-command").wait(60)
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == (EndReason.EXITED, 127)
    assert "no-such-command" in bench.log.read_text()


def test_a_signal_is_told_from_an_exit(bench: Bench) -> None:
    for number in (signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT):
        outcome = bench.run(f"import os; os.kill(os.getpid(), {int(number)})")
        assert (outcome.reason, outcome.exit_code) == (EndReason.SIGNALLED, 128 + number)


def test_stop_lets_it_end_by_itself(bench: Bench) -> None:
    running = bench.start_python(
        "import signal, sys, time\n"
        "def end(*_):\n    print('said goodbye', flush=True); sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('ready', flush=True)\ntime.sleep(100)"
    )
    wait_for_text(bench.log, "ready")
    before = time.monotonic()
    running.stop(30)
    assert time.monotonic() - before < 2
    outcome = running.wait(60)
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == (EndReason.STOPPED, 7)
    assert bench.log.read_text() == "ready\nsaid goodbye\n"


def test_stop_kills_after_the_grace(bench: Bench) -> None:
    running = bench.start_python(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\n"
        "while True: time.sleep(100)"
    )
    wait_for_text(bench.log, "ready")
    before = time.monotonic()
    running.stop(0.5)
    outcome = running.wait(60)
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == (EndReason.STOPPED, 137)
    assert 0.4 < time.monotonic() - before < 20


def test_stop_after_the_end_changes_nothing(bench: Bench) -> None:
    running = bench.start_python("raise SystemExit(5)")
    first = running.wait(60)
    running.stop(1)
    assert running.wait(1) == first
    assert first is not None
    assert first.reason is EndReason.EXITED


def test_many_threads_can_wait(bench: Bench) -> None:
    running = bench.start_python("import time; time.sleep(0.5)")
    assert running.wait(0.01) is None
    seen: list[object] = []
    threads = [threading.Thread(target=lambda: seen.append(running.wait(60))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == [running.wait()] * 4
    assert seen[0] is not None


def test_crashed_is_told_from_killed_and_from_out_of_memory(bench: Bench) -> None:
    """A traceback is an end by itself, with its words in the log; the other two are none of the program's doing."""
    limits = Limits(memory_bytes=256 * MIB, time_s=100)
    crashed = bench.run("def train(): raise ValueError('loss is NaN')\ntrain()", limits=limits)
    assert (crashed.reason, crashed.exit_code) == (EndReason.EXITED, 1)
    text = bench.log.read_text()
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("ValueError: loss is NaN\n")
    killed = bench.run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", limits=limits)
    assert (killed.reason, killed.exit_code) == (EndReason.SIGNALLED, 137)
    full = bench.run("held = []\nwhile True: held.append(bytearray(8 << 20))", limits=limits)
    assert (full.reason, full.exit_code) == (EndReason.OUT_OF_MEMORY, 137)


def test_two_at_once_do_not_meet(bench: Bench) -> None:
    runs = []
    for name in ("one", "two"):
        out = bench.folder / name
        out.mkdir()
        runs.append(
            bench.start_python(
                "import sys, time; time.sleep(0.3); open('/inputs/mine/me', 'w').write(sys.argv[1]); print(sys.argv[1])",
                name,
                log=bench.folder / f"{name}.log",
                mounts=[Mount(out, "/inputs/mine", read_only=False)],
            )
        )
    assert all((outcome := running.wait(60)) is not None and outcome.ok for running in runs)
    for name in ("one", "two"):
        assert (bench.folder / name / "me").read_text() == name
        assert (bench.folder / f"{name}.log").read_text() == f"{name}\n"


def test_usage_is_seen_while_it_runs(bench: Bench) -> None:
    running = bench.start_python(
        "import time\nheld = bytearray(100 << 20)\nwhile time.process_time() < 0.5: pass\n"
        "print('ready', flush=True)\ntime.sleep(60)"
    )
    wait_for_text(bench.log, "ready")
    usage = running.usage()
    assert usage is not None
    assert usage.memory_bytes > 100 * MIB
    assert usage.cpu_s >= 0.3
    assert usage.processes >= 1
    running.stop(0)
    assert running.wait(60) is not None
    assert running.usage() is None


def test_processes_left_behind_by_the_command_end_with_it(bench: Bench) -> None:
    mark = f"12{os.getpid()}.5"
    outcome = bench.run(
        "import os, sys, time\n"
        "if os.fork() == 0:\n    os.setsid(); time.sleep(float(sys.argv[1]))\n"
        "time.sleep(0.2)", mark
    )  # fmt: skip
    assert outcome.ok
    assert host_processes(mark) == []


def test_sweep_leaves_the_living_alone(bench: Bench) -> None:
    running = bench.start_python("import time; time.sleep(30)")
    assert bench.engine.sweep() == []
    assert running.wait(0.2) is None
