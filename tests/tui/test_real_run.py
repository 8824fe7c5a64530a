"""A real run of the embedded engine, watched in a real terminal: to its verdict, left and come back to, cancelled."""

from __future__ import annotations

import os
import re
import signal

import pytest

from repro_tui.events import Verdict
from repro_tui.runs.catalog import list_runs
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.reader import read_state
from tests.system.lab import COMMAND, Lab, alive, wait_until
from tests.tui.conftest import OpenTerminal
from tests.tui.terminal import Terminal

pytestmark = pytest.mark.engine


def at(lab: Lab, open_terminal: OpenTerminal, *, columns: int = 120, rows: int = 40) -> Terminal:
    """Open a terminal in which the experiment's store, mirror and runs are set up."""
    mirrors = os.pathsep.join(str(mirror) for mirror in lab.mirrors)
    places = {"REPRO_TUI_STORE": str(lab.store), "REPRO_TUI_RUNS": str(lab.runs), "REPRO_TUI_MIRROR": mirrors}
    return open_terminal(places, columns=columns, rows=rows)


def slower(lab: Lab, pause_s: float = 0.25) -> None:
    """Make the training take some fifteen seconds; nothing is recorded of it."""
    lab.manifest.pop("recorded", None)
    lab.manifest["hyperparameters"] = {**lab.manifest["hyperparameters"], "pause_s": pause_s}
    lab.write()


def started(lab: Lab) -> RunDirectory:
    """Start a run without looking at it."""
    words = [word for word in lab.words() if word not in {"--json", "--run"}]
    done = lab.command("run", "--detach", *words)
    assert done.code == 0, str(done)
    run = RunDirectory(lab.runs / done.out.strip())
    wait_until(lambda: read_state(run).step >= 1)
    return run


def ended(run: RunDirectory) -> Verdict | None:
    """Wait for the last word of a run."""
    wait_until(lambda: read_state(run).finished)
    return read_state(run).verdict


def test_from_home_through_the_plan_to_the_verdict(lab: Lab, open_terminal: OpenTerminal) -> None:
    lab.manifest["resources"] = {**lab.manifest["resources"], "engine": "embedded"}
    slower(lab, 0.05)
    terminal = at(lab, open_terminal)
    terminal.command([*COMMAND, str(lab.folder)])
    terminal.wait_for("two-clouds")
    terminal.keys("Enter")
    terminal.wait_for("MALLOC_ARENA_MAX|environment")
    terminal.wait_for("embedded")
    terminal.keys("Enter")
    terminal.wait_for("RUNNING")
    terminal.wait_for(r"step \d+/60 loss")
    screen = terminal.wait_for("REPRODUCED")
    terminal.wait_for("test/accuracy")
    assert "Traceback" not in screen
    (entry,) = list_runs(lab.runs)
    assert entry.status == "REPRODUCED"
    terminal.keys("q")
    terminal.wait_for_prompt()


def test_left_and_come_back_to(lab: Lab, open_terminal: OpenTerminal) -> None:
    slower(lab, 0.2)
    run = started(lab)
    terminal = at(lab, open_terminal)
    terminal.command([*COMMAND, str(run.path)])
    terminal.wait_for("RUNNING")
    terminal.keys("q")
    terminal.wait_for("Detach")
    terminal.keys("Enter")
    after = terminal.wait_for("goes on; follow")
    assert re.search(r"repro-tui attach", after)
    assert run.worker_alive()
    terminal.command([*COMMAND, "tui", "last"])
    terminal.wait_for("RUNNING")
    terminal.wait_for("REPRODUCED")
    assert ended(run) is Verdict.REPRODUCED


def test_cancelled(lab: Lab, open_terminal: OpenTerminal) -> None:
    slower(lab)
    run = started(lab)
    terminal = at(lab, open_terminal, columns=80, rows=24)
    terminal.command([*COMMAND, str(run.path)])
    terminal.wait_for("RUNNING")
    terminal.keys("x")
    terminal.wait_for("Cancel the run")
    terminal.keys("Right", "Enter")
    terminal.wait_for("CANCELLED")
    assert ended(run) is Verdict.CANCELLED
    assert run.cancel_requested()
    terminal.keys("q")
    terminal.wait_for_prompt()


def test_a_terminal_that_is_gone_stops_no_run(lab: Lab, open_terminal: OpenTerminal) -> None:
    slower(lab, 0.1)
    run = started(lab)
    terminal = at(lab, open_terminal)
    terminal.command([*COMMAND, str(run.path)])
    terminal.wait_for("RUNNING")
    (watcher,) = terminal.children()
    terminal.kill()
    wait_until(lambda: not alive(watcher), timeout_s=10)
    assert not read_state(run).finished, "the run was over before the terminal was gone: nothing is shown by this"
    assert ended(run) is Verdict.REPRODUCED


def test_a_worker_that_is_killed_is_told(lab: Lab, open_terminal: OpenTerminal) -> None:
    slower(lab)
    run = started(lab)
    terminal = at(lab, open_terminal)
    terminal.command([*COMMAND, str(run.path)])
    terminal.wait_for("RUNNING")
    pid = run.worker_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    terminal.wait_for("DIED")
