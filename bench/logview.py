"""The log view: a million lines at once, and keys that are answered while 5,000 lines a second come.

The first is the widget alone. The second is the whole program in a terminal of its own, on a run whose log has a
million lines already and grows: a key is answered when what it changed has been written to the terminal.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

from textual.app import App, ComposeResult

from bench.common import Figure, median, spread
from repro_tui.events import RunStarted, StageStarted
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.journal import Journal
from repro_tui.tui.widgets.logview import LogView

LINES = 1_000_000
LINES_PER_S = 5_000
_ROUNDS = 5
_KEYS = 80
_OPEN_S = 1.0
_ANSWER_S = 0.1
_MEMORY_MB = 150.0
_START_S = 30.0


def measure() -> list[Figure]:
    """Open the log, then start the program on it."""
    with tempfile.TemporaryDirectory(prefix="repro-tui-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        run = _run(folder)
        opened = [asyncio.run(_open_s(run.log("train"))) for _ in range(_ROUNDS)]
        with run.locked():
            answers, peak_mb, written = _keys(folder, run)
    megabytes = LINES * len(_line(0)) / 1e6
    return [
        Figure(
            name="a log of 1,000,000 lines opens",
            value=median(opened),
            limit=_OPEN_S,
            unit="s",
            detail=f"{spread(opened, 3)}, {megabytes:.0f} MB, indexed and its end drawn, {_ROUNDS} rounds",
        ),
        Figure(
            name="a key is answered under 5,000 log lines a second",
            value=statistics.quantiles(answers, n=20)[-1],
            limit=_ANSWER_S,
            unit="s",
            detail=f"95th percentile of {len(answers)}; {spread(answers, 3)}; {written:,.0f} lines a second came",
        ),
        Figure(
            name="memory of the program meanwhile",
            value=peak_mb,
            limit=_MEMORY_MB,
            unit="MB",
            detail=f"its peak, with a log of more than {LINES:,} lines",
        ),
    ]


def _line(number: int) -> bytes:
    return b"step %7d loss 0.2143 learning_rate 3e-05 samples_per_s 412.7\n" % number


def _run(folder: Path) -> RunDirectory:
    """Make a run that trains, with a long log."""
    run = RunDirectory.create(folder / "runs", "long-log")
    stages = ("resolve", "image", "data", "environment", "train", "evaluate", "verify", "report")
    with Journal(run.events) as journal:
        journal.append(
            RunStarted(
                at=time.time(),
                run_id=run.id,
                experiment="long-log",
                title="A long log",
                manifest="manifest.toml",
                stages=stages,
                version="0",
                pid=os.getpid(),
            )
        )
        journal.append(StageStarted(at=time.time(), stage="train"))
    with run.log("train").open("wb") as log:
        for start in range(0, LINES, 10_000):
            log.write(b"".join(_line(number) for number in range(start, start + 10_000)))
    return run


class _Window(App[None]):
    def compose(self) -> ComposeResult:
        yield LogView()


async def _open_s(path: Path) -> float:
    app = _Window()
    async with app.run_test(size=(120, 40)) as pilot:
        view = app.query_one(LogView)
        await pilot.pause()
        start = time.perf_counter()
        view.open(path)
        last = f"step {LINES - 1:7d}"
        while not (len(view.reader or ()) == LINES and last in view.render_line(view.size.height - 1).text):
            await pilot.pause(0.005)
        return time.perf_counter() - start


def _keys(folder: Path, run: RunDirectory) -> tuple[list[float], float, float]:
    """Return how long each key took to be answered, the peak of the memory in MB, and the lines a second that came."""
    terminal, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    left_out = {"NO_COLOR", "SSH_CONNECTION", "TEXTUAL_FPS", "TEXTUAL_ANIMATIONS"}
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    environment |= {"TERM": "xterm-256color", "XDG_CONFIG_HOME": str(folder / "config")}
    program = subprocess.Popen(
        [sys.executable, "-m", "repro_tui", str(run.path)],
        stdin=side,
        stdout=side,
        stderr=side,
        env=environment,
        start_new_session=True,
    )
    os.close(side)
    stop = threading.Event()
    written: list[int] = []
    writer = threading.Thread(target=_write, args=(run.log("train"), stop, written))
    try:
        _wait(terminal, (b"FOLLOW",), _START_S)
        start = time.perf_counter()
        writer.start()
        _drain(terminal, 2.0)
        answers = []
        for number in range(_KEYS):
            words = (b"FOLLOW",) if number % 2 else (b"FROZEN", b" new ")
            pressed = time.perf_counter()
            os.write(terminal, b"f")
            _wait(terminal, words, _START_S)
            answers.append(time.perf_counter() - pressed)
            _drain(terminal, 0.1 + 0.013 * (number % 10))
        pace = sum(written) / (time.perf_counter() - start)
        status = Path(f"/proc/{program.pid}/status").read_text(encoding="ascii")
        peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    finally:
        stop.set()
        if writer.is_alive():
            writer.join()
        program.send_signal(signal.SIGKILL)
        program.wait()
        os.close(terminal)
    return answers, peak_kb * 1024 / 1e6, pace


def _write(path: Path, stop: threading.Event, written: list[int]) -> None:
    """Append lines at an even pace."""
    start, number = time.perf_counter(), 0
    with path.open("ab", buffering=0) as log:
        while not stop.wait(0.01):
            due = int((time.perf_counter() - start) * LINES_PER_S)
            log.write(b"".join(_line(LINES + each) for each in range(number, due)))
            written.append(due - number)
            number = due


def _wait(terminal: int, words: tuple[bytes, ...], limit_s: float) -> None:
    """Read what the program writes until one of the words is in it."""
    seen = b""
    deadline = time.perf_counter() + limit_s
    while not any(word in seen for word in words):
        if not select.select([terminal], [], [], max(0.0, deadline - time.perf_counter()))[0]:
            raise TimeoutError(f"the program never wrote {words!r}; it wrote {seen[-300:]!r}")
        seen = seen[-1000:] + os.read(terminal, 1 << 16)


def _drain(terminal: int, for_s: float) -> None:
    """Read on, so that the program never waits for its terminal."""
    deadline = time.perf_counter() + for_s
    while (rest := deadline - time.perf_counter()) > 0:
        if select.select([terminal], [], [], rest)[0]:
            os.read(terminal, 1 << 16)
