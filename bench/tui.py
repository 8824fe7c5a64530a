"""The terminal UI: how soon its first frame is there, and what it costs beside a run that is going on."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.common import Figure, alternate, median, spread
from repro_tui.runs.directory import RunDirectory
from tests.tui.record import RECORDED, run_id

ROUNDS = 11
WATCHED_S = 20.0
_PATIENCE_S = 30.0
_LABEL = """\
from textual.app import App
from textual.widgets import Label
class Small(App):
    def compose(self):
        yield Label("FIRST FRAME")
Small().run()
"""


class Watched:
    """A program on a terminal of its own, 120 by 40; what it draws is read and thrown away."""

    def __init__(self, argv: Sequence[str], folder: Path) -> None:
        self.began = time.perf_counter()
        self._controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        kept = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "SSH_CONNECTION"}}
        self.process = subprocess.Popen(
            argv, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
            env={**kept, "TERM": "xterm-256color", "XDG_CONFIG_HOME": str(folder)},
        )  # fmt: skip
        os.close(terminal)

    def read_until(self, word: bytes) -> float:
        """Return the seconds from the start of the process until it has written a word."""
        seen = b""
        while word not in seen:
            ready, _, _ = select.select([self._controller], [], [], _PATIENCE_S)
            if not ready:
                raise TimeoutError(f"no {word!r} in {_PATIENCE_S} s: {seen[-500:]!r}")
            seen += os.read(self._controller, 1 << 16)
        return time.perf_counter() - self.began

    def drain(self, seconds: float) -> int:
        """Read for some time; return how many bytes came."""
        until, count = time.monotonic() + seconds, 0
        while (left := until - time.monotonic()) > 0:
            if select.select([self._controller], [], [], left)[0]:
                count += len(os.read(self._controller, 1 << 16))
        return count

    def cpu_s(self) -> float:
        """Return the processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> float:
        """End it at once; return the processor time that it had used, to the microsecond."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        _, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        os.close(self._controller)
        return used.ru_utime + used.ru_stime


def measure() -> list[Figure]:
    """Return the time to the first frame, its ratio to a Textual app with one label, and the idle cost."""
    folder = Path(tempfile.mkdtemp(prefix="repro-tui-bench-"))
    try:
        return [*_first_frames(folder), _beside_a_run(folder)]
    finally:
        shutil.rmtree(folder)


@dataclass
class _Times:
    """What first frames took, a value a round: on the clock, and of the processor."""

    argv: list[str]
    word: bytes
    clock_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def take(self, folder: Path) -> None:
        watched = Watched(self.argv, folder)
        try:
            self.clock_s.append(watched.read_until(self.word))
        finally:
            self.cpu_s.append(watched.close())


def _first_frames(folder: Path) -> list[Figure]:
    """Measure ours and the small app's in turn; the ratio is of processor time, which other load does not stretch."""
    run = _copy("reproduced", folder)
    (folder / "label.py").write_text(_LABEL, encoding="utf-8")
    script = str(Path(sys.executable).with_name("repro-tui"))
    ours = _Times([script, str(run.path)], b"Checks")
    label = _Times([sys.executable, str(folder / "label.py")], b"FIRST FRAME")
    alternate([partial(ours.take, folder), partial(label.take, folder)], rounds=ROUNDS)
    least = min(ours.cpu_s) / min(label.cpu_s)
    on_the_clock = median(ours.clock_s) / median(label.clock_s)
    return [
        Figure(
            name="first frame of the terminal UI", value=median(ours.clock_s) * 1000, limit=700, unit="ms",
            detail=f"{spread(ours.clock_s, 3)}, {ROUNDS} rounds",
        ),
        Figure(
            name="first frame of the terminal UI / of a Textual app with one label, processor time",
            value=median(ours.cpu_s) / median(label.cpu_s), limit=1.6, unit="times",
            detail=f"{spread(ours.cpu_s, 3)} against {spread(label.cpu_s, 3)}, {ROUNDS} rounds; of the least of each "
            f"{least:.2f}, on the clock {on_the_clock:.2f}",
        ),
    ]  # fmt: skip


def _beside_a_run(folder: Path) -> Figure:
    """Measure the UI beside a run that says a step and a sample of its resources every second."""
    run = _copy("running", folder)
    script = str(Path(sys.executable).with_name("repro-tui"))
    with run.locked():
        watched = Watched([script, str(run.path)], folder)
        try:
            watched.read_until(b"Checks")
            watched.drain(3.0)
            before, began, count = watched.cpu_s(), time.monotonic(), 0
            for second in range(int(WATCHED_S)):
                _say(run, 26 + second)
                count += watched.drain(1.0)
            share = (watched.cpu_s() - before) / (time.monotonic() - began)
        finally:
            watched.close()
    return Figure(
        name="the terminal UI beside a run that says a step a second", value=share * 100, limit=3,
        unit="% of a core", detail=f"{WATCHED_S:g} s, {count / WATCHED_S:.0f} bytes a second to the terminal",
    )  # fmt: skip


def _say(run: RunDirectory, step: int) -> None:
    """Say what a training that is going on says in a second."""
    now = time.time()
    events = (
        {"kind": "stage_progress", "at": now, "stage": "train", "done": step, "total": 60, "unit": "steps"},
        {"kind": "resources", "at": now, "cpu_percent": 99.0 + step % 3, "memory_bytes": 1_200_000_000 + step},
    )
    with run.events.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    with run.metrics.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"event": "step", "step": step, "total": 60, "loss": 1 / step}) + "\n")
    with run.log("train").open("a", encoding="utf-8") as file:
        file.write(f"step {step}/60 loss {1 / step:.4f}\n")


def _copy(state: str, folder: Path) -> RunDirectory:
    run = RunDirectory(folder / "runs" / run_id(RECORDED / state))
    shutil.copytree(RECORDED / state, run.path)
    return run
