from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from repro_tui.events import CheckResult, CheckStatus
from repro_tui.runs import compare
from repro_tui.runs.compare import Pair
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.state import MetricKey, MetricValue, RunState, Stage


def run_with(folder: Path, job: dict[str, Any] | None = None) -> RunDirectory:
    run = RunDirectory(folder)
    run.job.mkdir(parents=True)
    if job is not None:
        (run.job / "job.json").write_text(json.dumps(job))
    return run


def test_metrics_stand_beside_each_other() -> None:
    left, right = RunState(), RunState()
    left.metrics = {
        MetricKey("accuracy"): MetricValue(0.5), MetricKey("f1", "test", "a"): MetricValue(1.0),
        MetricKey("old"): MetricValue(None),
    }  # fmt: skip
    right.metrics = {MetricKey("accuracy"): MetricValue(0.625), MetricKey("new"): MetricValue(2.0)}
    assert compare.metrics(left, right) == [
        Pair("test/accuracy", "0.5", "0.625", "+0.125"), Pair("test/new", "", "2"), Pair("test/old", "", ""),
    ]  # fmt: skip


def test_pins_are_what_was_observed() -> None:
    def state(observed: str) -> RunState:
        check = CheckResult(
            at=0, name="image", component="image", status=CheckStatus.MATCH, expected="x", observed=observed
        )
        metric = CheckResult(at=0, name="m", component="metrics", status=CheckStatus.MATCH, observed="1")
        return RunState(checks={"image": check, "m": metric})

    assert compare.pins(state("a" * 64), state("a" * 64)) == [Pair("image", "a" * 12 + "…", "a" * 12 + "…")]
    (pair,) = compare.pins(state("a" * 64), state("b" * 64))
    assert (pair.difference, pair.same) == ("other", False)


def test_times_of_stages() -> None:
    left = RunState(stages={"train": Stage("train", elapsed_s=10.0), "verify": Stage("verify")})
    right = RunState(stages={"train": Stage("train", elapsed_s=12.5), "report": Stage("report", elapsed_s=1.0)})
    assert compare.times(left, right) == [
        Pair("train", "10.0 s", "12.5 s", "+2.5 s"), Pair("verify", "", ""), Pair("report", "", "1.0 s"),
    ]  # fmt: skip


def test_hyperparameters_and_whatever_else_of_the_job_differs(tmp_path: Path) -> None:
    one = {"seed": 1, "task": "t", "hyperparameters": {"rate": 0.1, "epochs": 2}, "splits": {"test": {"first": None}}}
    other = {"seed": 2, "task": "t", "hyperparameters": {"rate": 0.1, "extra": "x"}, "splits": {"test": {"first": 5}}}
    pairs = compare.hyperparameters(run_with(tmp_path / "a", one), run_with(tmp_path / "b", other))
    assert pairs == [
        Pair("seed", "1", "2", "+1"), Pair("rate", "0.1", "0.1"), Pair("epochs", "2", ""), Pair("extra", "", "x"),
        Pair("splits.test.first", "", "5"),
    ]  # fmt: skip


def test_a_run_without_a_job_has_the_hyperparameters_of_its_manifest(tmp_path: Path) -> None:
    run = run_with(tmp_path / "a")
    run.manifest.write_text("[determinism]\nseed = 7\n[hyperparameters]\nrate = 0.1\n")
    assert compare.read_job(run) == {"seed": 7, "hyperparameters": {"rate": 0.1}}
    run.options.write_text('{"seed": 8}')
    assert compare.read_job(run)["seed"] == 8
    run.manifest.write_bytes(b"\xff")
    assert compare.read_job(run) == {}
    (run.job / "job.json").write_text("[1]")
    assert compare.read_job(run) == {}, "what is no job is none"
    assert compare.hyperparameters(run, run) == []


def test_curves_of_either_run_the_loss_first() -> None:
    left, right = RunState(), RunState()
    left.apply_line('{"event": "step", "step": 1, "learning_rate": 1, "loss": 2}')
    right.apply_line('{"event": "step", "step": 1, "loss": 3}')
    right.apply_line('{"event": "metric", "name": "f1", "value": 1, "step": 1}')
    curves = compare.curves(left, right)
    assert [name for name, _, _ in curves] == ["loss", "learning_rate", "test/f1"]
    assert curves[0][1:] == (left.series["loss"], right.series["loss"])
    assert curves[1][2] is None
