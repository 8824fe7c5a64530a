"""What a run's state makes of a manifest's stages: names with the stage in front, outputs below its folder."""

from __future__ import annotations

from repro_tui import wire
from repro_tui.events import StageStatus, TaskStage, from_line
from repro_tui.runs import outcome, words
from repro_tui.runs.state import MetricKey, RunState


def told() -> RunState:
    state = RunState()
    for line in (
        wire.encode("stage", stage="pretrain"),
        wire.encode("phase", phase="evaluate"),
        wire.encode("step", step=3, total=3, loss=0.5),
        wire.encode("runtime", threads=2),
        wire.encode("output", name="weights", path="/out/model.safetensors"),
        wire.encode("metric", name="loss", value=0.5, split="test"),
        wire.encode("stage", stage="fine-tune"),
        wire.encode("output", name="weights", path="model.safetensors"),
        wire.encode("output", name="elsewhere", path="/etc/passwd"),
        wire.encode("metric", name="accuracy", value=0.9, step=1, **{"class": "grain"}),
        wire.encode("table", name=outcome.CONFUSION, columns=["a"], rows=[[1]]),
    ):
        state.apply_line(line)
    return state


def test_what_a_stage_tells_is_kept_under_its_name() -> None:
    state = told()
    assert list(map(str, state.metrics)) == ["pretrain: test/loss", "fine-tune: test/accuracy[grain]"]
    assert {name: output.path for name, output in state.outputs.items()} == {
        "pretrain: weights": "pretrain/model.safetensors",
        "fine-tune: weights": "fine-tune/model.safetensors",
        "fine-tune: elsewhere": "/etc/passwd",  # which leads out, and is refused as such
    }
    assert list(state.series) == ["pretrain: loss", "fine-tune: test/accuracy[grain]"]
    assert (state.phase, state.step, state.runtime) == ("", 0, {}), "a stage begins anew"
    assert MetricKey("accuracy", label="grain", stage="fine-tune") in state.metrics
    table = outcome.by_class(state)
    assert table is not None
    assert table.rows == (("grain", 0.9),)
    assert outcome.confusion(state) is not None


def test_without_stages_names_are_as_they_were() -> None:
    state = RunState()
    state.apply_line(wire.encode("output", name="weights", path="/out/model.safetensors"))
    state.apply_line(wire.encode("step", step=1, loss=0.5))
    assert state.outputs["weights"].path == "/out/model.safetensors"
    assert list(state.series) == ["loss"]
    assert words.numbers(state) == "loss 0.5"


def test_stages_are_events_too() -> None:
    begun = TaskStage(at=1.0, name="pretrain", place=1, count=2)
    taken = TaskStage(
        at=2.0, name="pretrain", place=1, count=2, status=StageStatus.CACHED, elapsed_s=12.0, key="sha256:1", run="r-1"
    )
    state = RunState()
    for event in (begun, taken):
        again = from_line(event.to_line())
        assert again == event
        state.apply(event)
    assert state.task_stages == {"pretrain": taken}
    assert words.task_stage(begun) == "stage pretrain (1 of 2) …"
    assert words.task_stage(taken) == "stage pretrain cached, of the run r-1 (12.0 s)"
