from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_tui import wire
from repro_tui.events import (
    CancelRequested,
    CheckResult,
    CheckStatus,
    EngineChosen,
    Event,
    Notice,
    ResourceSample,
    RunFinished,
    RunStarted,
    StageFinished,
    StageProgress,
    StageStarted,
    StageStatus,
    Verdict,
)
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.journal import Journal
from repro_tui.runs.reader import RunReader, read_state
from repro_tui.runs.series import CAPACITY, Series
from repro_tui.runs.state import MAX_COMPLAINTS, MAX_NAMES, MAX_NOTICES, MetricKey, MetricValue, RunState

EVENTS: list[Event] = [
    RunStarted(at=1.0, run_id="r8-1", experiment="r8", title="R8", manifest="m.toml", stages=("resolve", "train"), version="0.1.0", pid=7),
    StageStarted(at=1.0, stage="resolve"),
    EngineChosen(at=1.5, engine="embedded", host="local", reason="no Docker", capabilities={"memory": "enforced"}),
    StageFinished(at=2.0, stage="resolve", status=StageStatus.PASSED, elapsed_s=1.0),
    StageStarted(at=2.0, stage="train"),
    StageProgress(at=2.5, stage="train", done=1, total=4, unit="steps"),
    ResourceSample(at=2.6, cpu_percent=190.0, memory_bytes=900),
    ResourceSample(at=2.7, cpu_percent=180.0, memory_bytes=100),
    CheckResult(at=2.8, name="metric test/accuracy", component="metrics", status=CheckStatus.NOT_RUN),
    CheckResult(at=2.9, name="metric test/accuracy", component="metrics", status=CheckStatus.MATCH),
    Notice(at=3.0, level="info", message="hello"),
    CancelRequested(at=3.1, by="ada"),
    StageFinished(at=4.0, stage="train", status=StageStatus.CANCELLED, elapsed_s=2.0),
    RunFinished(at=5.0, verdict=Verdict.CANCELLED, exit_code=130, summary="Cancelled."),
]  # fmt: skip
LINES = [
    wire.encode("phase", phase="train"),
    wire.encode("step", step=1, total=4, loss=0.5, learning_rate=1e-5),
    wire.encode("step", step=2, total=4, loss=math.nan),
    wire.encode("metric", name="accuracy", value=0.9, split="validation", step=2),
    wire.encode("metric", name="accuracy", value=0.91, split="test"),
    wire.encode("metric", name="f1", value=0.8, split="test", **{"class": "acq"}),
    wire.encode("table", name="confusion", columns=["", "a"], rows=[["a", 1]]),
    wire.encode("output", name="weights", path="w", sha256="AB"),
    wire.encode("runtime", threads=2),
    "no JSON\n",
    '{"event": "metric", "name": "x"}\n',
]


def reduced(events: list[Event], lines: list[str]) -> RunState:
    state = RunState()
    for event in events:
        state.apply(event)
    for line in lines:
        state.apply_line(line)
    return state


def test_a_run_is_reduced_to_its_state() -> None:
    state = reduced(EVENTS, LINES)
    assert (state.verdict, state.exit_code, state.finished) == (Verdict.CANCELLED, 130, True)
    assert state.timings_s == {"resolve": 1.0, "train": 2.0}
    assert state.stages["train"].status is StageStatus.CANCELLED
    assert (state.stages["train"].done, state.stages["train"].total, state.current_stage) == (1, 4, None)
    assert state.peak_memory_bytes == 900
    assert state.checks["metric test/accuracy"].status is CheckStatus.MATCH, "a later result replaces an earlier one"
    assert state.cancel_requested_by == "ada"
    assert (state.step, state.total_steps, state.phase) == (2, 4, "train")
    assert state.metrics[MetricKey("accuracy")] == MetricValue(0.91)
    assert state.metrics[MetricKey("accuracy", "validation")] == MetricValue(0.9, 2)
    assert state.metrics[MetricKey("f1", "test", "acq")] == MetricValue(0.8)
    assert list(state.series["validation/accuracy"]) == [(2, 0.9)]
    assert [step for step, _ in state.series["loss"]] == [1, 2]
    assert state.outputs["weights"].sha256 == "ab"
    assert state.tables["confusion"].rows == (("a", 1),)
    assert state.runtime == {"threads": 2}
    assert state.bad_lines == 2
    assert state.complaints[0].startswith("line 10: not JSON")


def test_the_running_stage_is_known() -> None:
    current = reduced(EVENTS[:6], []).current_stage
    assert current is not None
    assert current.name == "train"


@settings(max_examples=20)
@given(st.lists(st.integers(1, 400), max_size=20))
def test_a_replay_gives_the_same_state_however_it_was_read(cuts: list[int]) -> None:
    with TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder), "r8")
        events = "".join(event.to_line() for event in EVENTS).encode()
        metrics = "".join(LINES).encode()
        reader = RunReader(run)
        position = 0
        for cut in [*cuts, 100_000]:
            for path, content in ((run.events, events), (run.metrics, metrics)):
                with path.open("ab") as file:
                    file.write(content[position : position + cut])
            position += cut
            reader.poll()
        assert reader.read_all() == read_state(run)
        assert reader.state == reduced(EVENTS, LINES)


def test_a_last_line_without_its_end_counts_when_the_run_has_ended(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "r8")
    run.metrics.write_text(LINES[4].rstrip("\n"))
    run.events.write_text("".join(event.to_line() for event in EVENTS[:-1]))
    assert read_state(run).metrics == {}
    run.events.write_text("".join(event.to_line() for event in EVENTS))
    assert read_state(run).metrics == {MetricKey("accuracy"): MetricValue(0.91)}


def test_a_broken_journal_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "r8")
    broken = [
        '{"kind": "stage_st\n',
        "[]\n",
        '{"kind": "notice", "at": "x", "level": 1, "message": {}}\n',
        "\n",
        '{"kind": "new"}\n',
    ]
    run.events.write_text(EVENTS[0].to_line() + "".join(broken) + EVENTS[-1].to_line())
    assert read_state(run).verdict is Verdict.CANCELLED


def test_died_is_a_worker_that_left_without_its_last_word(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "r8")
    with run.locked(), Journal(run.events) as journal:
        journal.append(EVENTS[0])
        assert not RunReader(run).died()
    assert RunReader(run).died()
    with Journal(run.events) as journal:
        journal.append(EVENTS[-1])
    assert not RunReader(run).died()


def test_memory_is_bounded_whatever_a_task_writes() -> None:
    state = RunState()
    for number in range(MAX_NAMES + 500):
        state.apply_line(wire.encode("metric", name=f"m{number}", value=1.0, step=1))
        state.apply_line(wire.encode("table", name=f"t{number}", columns=[], rows=[]))
        state.apply_line(wire.encode("output", name=f"o{number}", path="x"))
        state.apply_line(wire.encode("note", text="n"))
        state.apply_line("bad")
    for number in range(MAX_NOTICES + 5):
        state.apply(Notice(at=float(number), level="info", message="n"))
    assert len(state.metrics) == MAX_NAMES
    assert max(len(state.series), len(state.tables), len(state.outputs)) <= MAX_NAMES // 16
    assert len(state.notes) == len(state.notices) == MAX_NOTICES
    assert state.notices_dropped == 5
    assert (state.bad_lines, len(state.complaints)) == (MAX_NAMES + 500, MAX_COMPLAINTS)
    assert state.names_dropped > 500
    state.apply_line(wire.encode("metric", name="m1", value=2.0))
    assert state.metrics[MetricKey("m1")].value == 2.0, "a name that is known stays current"


@pytest.mark.parametrize(
    "body",
    [
        {"event": "step", "step": True},
        {"event": "step", "step": 1.5},
        {"event": "metric", "name": "x", "value": None},
        {"event": "metric", "name": ["x"], "value": 1},
        {"event": "table", "name": "t", "columns": ["a"], "rows": [1]},
        {"event": "output", "name": "w", "path": 3},
        {"event": "other"},
        {"event": ["metric"]},
        {"event": "note", "text": "half a pair: \ud800"},
        [],
        "text",
    ],
)
def test_a_line_of_the_wrong_shape_is_counted_and_nothing_else(body: object) -> None:
    state = RunState()
    state.apply_line(json.dumps(body))
    assert (state.bad_lines, len(state.complaints)) == (1, 1)
    assert [state.metrics, state.tables, state.outputs, state.series] == [{}, {}, {}, {}]


KEYS = st.sampled_from(
    ["event", "name", "value", "step", "class", "split", "columns", "rows", "path", "text", "phase", "total"]
) | st.text(max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
)


@given(VALUES, st.sampled_from(sorted(wire.EVENTS)))
def test_no_line_breaks_the_reducer(body: object, event: str) -> None:
    state = RunState()
    state.apply_line(json.dumps(body))
    if isinstance(body, dict):
        state.apply_line(json.dumps({**body, "event": event}))
    assert state.lines > 0


def test_a_number_that_no_float_holds_is_infinite() -> None:
    state = RunState()
    state.apply_line('{"event": "metric", "name": "x", "value": -1' + "0" * 400 + "}")
    assert state.metrics[MetricKey("x")].value == -math.inf


@given(st.integers(1, 5000))
def test_a_series_is_bounded_and_keeps_both_ends(count: int) -> None:
    series = Series()
    for step in range(count):
        series.add(step, float(step))
    points = list(series)
    assert len(points) <= CAPACITY
    assert len(points) == min(count, len(points))
    assert count < CAPACITY // 2 or len(points) > CAPACITY // 4
    assert points[0] == (0, 0.0)
    assert points[-1] == series.last == (count - 1, float(count - 1))
    assert [step for step, _ in points] == sorted({step for step, _ in points})
