"""The parts of the run screen as plain functions of the state: first line, stages, gauges, checks, cause, pins."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.message import Message
from textual.message_pump import MessagePump

from repro_tui.events import CheckResult, CheckStatus, Notice, ResourceSample, StageFinished, StageStarted, StageStatus
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.reader import read_state
from repro_tui.runs.state import RunState
from repro_tui.tui import naming, pinned
from repro_tui.tui.feed import Changed, RunFeed
from repro_tui.tui.widgets import checks, gauges, header, stages
from repro_tui.tui.widgets.cause import cause

Recorded = Callable[[str], RunDirectory]


@pytest.mark.parametrize(
    ("state", "word"),
    [("running", "RUNNING"), ("reproduced", "REPRODUCED"), ("drift", "ENVIRONMENT DRIFT"), ("cancelled", "CANCELLED")],
)
def test_the_first_line_says_how_it_stands(recorded: Recorded, state: str, word: str) -> None:
    run = read_state(recorded(state))
    line = header.headline(run, died=False, now=(run.started_at or 0.0) + 3725).plain
    assert "two-clouds" in line
    assert f" {word} " in line
    assert ("01:02:05" in line) is (state == "running")


def test_silence_and_the_time_until_it_is_killed_are_told(recorded: Recorded) -> None:
    state = read_state(recorded("running"))
    stage = state.current_stage
    assert stage is not None
    assert stage.started_at is not None
    at = stage.started_at
    assert header.badge(state, now=at + 89, heard_at=0.0, cancelled_at=None) == ""
    assert header.badge(state, now=at + 91, heard_at=0.0, cancelled_at=None) == "no output for 91 s"
    assert header.badge(state, now=at + 91, heard_at=at + 60, cancelled_at=None) == ""
    assert header.badge(state, now=at + 91, heard_at=at, cancelled_at=at + 88) == "stopping, killed in 7 s"
    assert header.badge(state, now=at + 99, heard_at=at, cancelled_at=at + 88) == "stopping"


def test_eighty_columns_hold_every_stage(recorded: Recorded) -> None:
    for name in ("reproduced", "failed", "running"):
        line = stages.strip(read_state(recorded(name)))
        assert line.cell_len <= 80
        assert line.plain.count("PASS") >= 3


def test_a_stage_whose_worker_died_died_too(recorded: Recorded) -> None:
    state = read_state(recorded("running"))
    assert "DIED trai" in stages.strip(state, died=True).plain
    assert "RUN train" in stages.strip(state, died=False).plain


def test_gauges_say_what_is_told_and_draw_what_has_a_limit() -> None:
    gpu = {
        "index": 0,
        "name": "Card",
        "utilisation_percent": 50,
        "memory_bytes": 20 * 10**9,
        "memory_total_bytes": 40 * 10**9,
    }
    sample = ResourceSample(at=0.0, cpu_percent=100.0, memory_bytes=10**9, gpus=(gpu, {"index": 1}))
    told = list(gauges.lines(sample, peak_bytes=2 * 10**9, cpus=2, memory_bytes=None, width=30))
    assert told == [
        "CPU   [#####     ] 100 %",
        "RAM    1.00 GB",
        "      at most 2.00 GB",
        "GPU0  [#####     ] 50 %",
        "VRAM  [#####     ] 20.00 GB",
        "      Card",
        "GPU1  use not told",
    ]
    assert gauges.strip(sample) == "CPU 100 %  RAM 1.00 GB  GPU0 50 %  VRAM 20.00 GB  GPU1"
    assert gauges.bar(7.0, 4) == "[####]"


def test_checks_are_counted_as_they_come() -> None:
    def check(name: str, status: CheckStatus) -> CheckResult:
        return CheckResult(at=0.0, name=name, component="metrics", status=status)

    made = [check("a", CheckStatus.MATCH), check("b", CheckStatus.DIFFERS), check("c", CheckStatus.NOT_RUN)]
    assert checks.count(made) == "2 of 3 made, 1 not held"
    assert checks.table(made).row_count == 3


def test_a_failure_is_told_with_its_stage_hint_and_exit_code(recorded: Recorded) -> None:
    why = cause(read_state(recorded("failed")), died=False)
    assert why is not None
    assert why.stage == "train"
    assert "ValueError: math domain error" in why.text().splitlines()[0]
    assert "(exit code 4)" in why.text()
    assert "hint: " in why.text()


def test_the_error_of_the_stage_is_meant_not_an_earlier_one() -> None:
    state = RunState()
    state.apply(StageStarted(at=0.0, stage="image"))
    for message, hint in (("the last lines of a log", ""), ("no disk\nwhere: /", "free some")):
        state.apply(Notice(at=0.0, level="error", message=message, hint=hint, stage="image"))
    state.apply(StageFinished(at=1.0, stage="image", status=StageStatus.FAILED, elapsed_s=1.0, detail="no disk"))
    why = cause(state, died=False)
    assert why is not None
    assert (why.what, why.hint) == ("no disk", "free some")


@pytest.mark.parametrize("state", ["reproduced", "running", "cancelled"])
def test_what_did_not_fail_has_no_cause(recorded: Recorded, state: str) -> None:
    assert cause(read_state(recorded(state)), died=False) is None


def test_bands_are_what_is_still_the_same(recorded: Recorded, tmp_path: Path) -> None:
    found = pinned.read(recorded("reproduced"))
    band = found.bands["test/accuracy"]
    assert band.low < band.value < band.high
    assert pinned.read(RunDirectory(tmp_path)) == pinned.Pinned()


def test_a_run_is_named_as_its_folder_lies(recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = recorded("reproduced")
    assert naming.name(run) == run.id
    monkeypatch.chdir(tmp_path / "runs")
    assert naming.name(run) == str(run.path)
    assert naming.command(run).startswith("repro-tui run ")
    assert naming.command(RunDirectory(tmp_path)) == f"repro-tui show {tmp_path}"


class Ear(MessagePump):
    """Counts what a feed posts."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = 0

    def post_message(self, message: Message) -> bool:
        self.heard += isinstance(message, Changed)
        return True


def wait_until(holds: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def test_a_feed_reads_to_the_end_and_its_thread_ends(recorded: Recorded) -> None:
    ear = Ear()
    feed = RunFeed(recorded("reproduced"), ear)
    feed.start()
    wait_until(lambda: not feed.snapshot().live)
    feed.stop()
    assert ear.heard >= 1
    assert feed.snapshot().state == read_state(feed.run)


def test_a_snapshot_stays_as_it_was(recorded: Recorded) -> None:
    run = recorded("running")
    feed = RunFeed(run, Ear())
    feed.start()
    wait_until(lambda: feed.snapshot().state.step)
    before = feed.snapshot().state
    step, points = before.step, list(before.series["loss"])
    with run.metrics.open("a") as file:
        file.write('{"event": "step", "step": 59, "total": 60, "loss": 0.1}\n')
    wait_until(lambda: feed.snapshot().state.step == 59)
    feed.stop()
    assert (before.step, list(before.series["loss"])) == (step, points)
