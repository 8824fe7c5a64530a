"""Run directories that are broken, empty, or made to mislead: nothing is claimed of them, and nothing hangs."""

from __future__ import annotations

import copy
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from repro_tui.manifest.models import Expected, ExpectedMetric
from repro_tui.report.explain.explain import explain
from repro_tui.report.explain.files import Clock
from repro_tui.report.explain.model import Kind, Named, Outcome
from repro_tui.report.explain.outcomes import outcomes
from repro_tui.report.explain.sides import Side, of_run
from repro_tui.report.explain.text import render
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.state import MetricKey
from tests.report.explain.workbench import SUMMARY

RECORDED = Path(__file__).parents[2] / "tui" / "recorded"
FILES = (
    "manifest.toml", "options.json", "events.jsonl", "environment.json", "files.jsonl", "report.json", "record.json",
    "job/job.json", "out/metrics.jsonl",
)  # fmt: skip


@pytest.fixture
def copied(tmp_path: Path) -> RunDirectory:
    """Give a run that may be damaged."""
    return RunDirectory(shutil.copytree(RECORDED / "reproduced", tmp_path / "run"))


@pytest.fixture(scope="module")
def known() -> Side:
    """Give a run as it should be."""
    return of_run(RunDirectory(RECORDED / "reproduced"))


def test_of_an_empty_folder_nothing_is_known_and_nothing_is_claimed(known: Side, tmp_path: Path) -> None:
    side = of_run(RunDirectory(tmp_path))
    for found in (explain(known, side), explain(side, side)):
        assert not found.differs
        assert not found.same
        assert found.unknown[-1].startswith("of the right one: hyperparameters, data, weights and code, splits, seeds")
        assert "Too little is known of both" in render(found)


@pytest.mark.parametrize("name", FILES)
def test_pipes_links_and_folders_in_place_of_files(known: Side, copied: RunDirectory, name: str) -> None:
    path = copied.path / name
    for make in (os.mkfifo, Path.mkdir, lambda place: place.symlink_to("/dev/zero")):
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        make(path)
        explain(known, of_run(copied))
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\0\xfe" * 100, b"[1]", b'{"a": ' * 50_000, b"null", b'{"schema": 1', b"9" * 10_000, b"{}\n" * 100],
    ids=["empty", "binary", "list", "deep", "null", "cut", "number", "lines"],
)
def test_any_bytes_in_any_file(known: Side, copied: RunDirectory, content: bytes) -> None:
    (copied.path / "job").mkdir(exist_ok=True)
    for name in FILES:
        (copied.path / name).write_bytes(content)
    found = explain(known, of_run(copied))
    assert not found.same
    render(found)
    json.dumps(found.to_json())


def test_values_of_other_kinds_than_they_should_be(known: Side, copied: RunDirectory) -> None:
    deep: Any = 1
    for _ in range(400):
        deep = {"a": deep}
    record = {
        "schema": 1, "experiment": "x", "environment": {"python": 3, "variables": []}, "host": {"gpus": 3, "cpu_flags": {}},
        "image": {"manifest_digest": "x", "config_digest": "y", "diff_ids": []},
        "metrics": [{"name": ["x"], "value": "high"}, {"value": 1}], "digests": {"weights\x1b[2J": "0"},
        "job": {
            "artifacts": {"train": 3, "x\x1b]0;y\x07": {"sha256": "../../etc/passwd", "path": []}, "z": {"sha256": None}},
            "task": [1], "hyperparameters": {"rate": deep, "x": [1, {"\x1b": 2}]}, "splits": "all",
        },
    }  # fmt: skip
    copied.record.write_text(json.dumps(record))
    copied.environment.write_text(json.dumps({**SUMMARY, "distributions": {"torch": "2.0"}, "host": ["x"]}))
    copied.options.write_text('{"store": 3, "mirrors": ["a\\u0000b", 3], "manifest": "x\\u0000y", "seed": "x"}')
    found = explain(known, of_run(copied))
    text = render(found) + json.dumps(found.to_json(), ensure_ascii=False)
    assert found.differs
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "what the probe saw" in found.unknown[0]


def test_what_is_nested_too_deep_is_not_said_to_be_the_same(known: Side) -> None:
    one: Any = 1
    other: Any = 2
    for _ in range(5000):
        one, other = {"a": one}, {"a": other}
    found = explain(replace(known, job={"hyperparameters": one}), replace(known, job={"hyperparameters": other}))
    assert not found.same
    assert "nested too deep" in found.unknown[-1]


def test_a_run_without_manifest_and_record_has_what_the_task_was_given(known: Side, copied: RunDirectory) -> None:
    copied.manifest.unlink()
    copied.job.mkdir()
    rate = known.job["hyperparameters"]["rate"]
    job = {
        "seed": 3,
        "data_seed": 3,
        "level": "bitwise",
        "hyperparameters": {**known.job["hyperparameters"], "rate": 9},
    }
    (copied.job / "job.json").write_text(json.dumps(job))
    first, *rest = explain(known, of_run(copied)).causes
    assert (first.name, first.left, first.right) == ("rate", str(rate), "9")
    assert {each.kind for each in rest} <= {Kind.SEED, Kind.DETERMINISM}


def test_data_that_cannot_be_read_is_said_to_be(known: Side) -> None:
    other = copy.deepcopy(dict(known.job))
    other["artifacts"]["train"]["sha256"] = "0" * 64
    first = explain(known, replace(known, job=other), Clock(0)).causes[0]
    assert first.kind is Kind.DATA
    assert "not" in first.details[0]


def spread(samples: list[float] | None, values: tuple[float, float], kinds: tuple[str, str]) -> Outcome:
    metric = ExpectedMetric(name="accuracy", value=0.9, absolute=0.1, samples=samples)
    manifest = of_run(RunDirectory(RECORDED / "reproduced")).manifest
    assert manifest is not None
    manifest = manifest.model_copy(update={"expected": Expected(metrics=[metric])})
    sides = [
        Side(named=Named(kind, "", ""), manifest=manifest, metrics={MetricKey("accuracy"): value})
        for kind, value in zip(kinds, values, strict=True)
    ]
    (found,) = outcomes(*sides)
    return found


def test_a_metric_within_the_spread_of_recorded_seeds_and_beyond() -> None:
    pytest.importorskip("scipy", reason="a prediction interval needs SciPy")
    samples = [0.9, 0.91, 0.89, 0.9, 0.9]  # s = 0.00707, t(0.975; 4) = 2.776
    near = spread(samples, (0.9, 0.92), ("manifest", "run"))
    assert near.within_spread, "2.776 · 0.00707 · sqrt(1 + 1/5) = 0.0215"
    assert "0.0215" in near.spread
    assert not spread(samples, (0.9, 0.93), ("manifest", "run")).within_spread
    two = spread(samples, (0.89, 0.915), ("run", "run"))
    assert two.within_spread, "2.776 · 0.00707 · sqrt(2) = 0.0278"
    assert "0.0278" in two.spread
    assert not spread(samples, (0.89, 0.92), ("run", "run")).within_spread


def test_without_scipy_it_is_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "scipy.stats", None)
    found = spread([0.9, 0.92], (0.9, 0.915), ("run", "run"))
    assert found.within_spread
    assert "SciPy would give" in found.spread


def test_a_spread_that_is_not_recorded_is_not_claimed() -> None:
    for samples, words in ((None, "not recorded"), ([0.9], "one recorded seed")):
        found = spread(samples, (0.9, 0.8), ("run", "run"))
        assert found.within_spread is None
        assert words in found.spread


def test_a_series_over_seeds_has_a_mean_and_no_losses(copied: RunDirectory) -> None:
    pytest.importorskip("scipy", reason="a prediction interval needs SciPy")
    one = of_run(RunDirectory(copied.path))
    (copied.path / "seeds").mkdir()
    report = json.loads(copied.report.read_text())
    values = [0.875, 0.885, 0.865]
    metric = {"name": "accuracy", "split": "test", "values": values}
    copied.report.write_text(json.dumps({**report, "series": {"metrics": [metric, 3, {"values": "x"}]}}))
    series = of_run(copied)
    assert (series.named.kind, dict(series.samples)) == ("series", {MetricKey("accuracy"): values})
    found = explain(replace(one, metrics={MetricKey("accuracy"): 0.9}), series)
    assert found.parting is None
    outcome = next(each for each in found.outcomes if each.name == "test/accuracy")
    assert outcome.within_spread, "4.303 · 0.01 · sqrt(1 + 1/3) = 0.0497"
    assert "a run is off the mean of 3 recorded seeds, by up to 0.0497" in outcome.spread


def test_the_seeds_of_a_series_are_what_differs_from_one_run(copied: RunDirectory) -> None:
    one = of_run(RunDirectory(copied.path))
    (copied.path / "seeds").mkdir()
    report = json.loads(copied.report.read_text())
    ran = [{"seed": 8}, {"seed": 7}, {"seed": "9"}, 3]
    copied.report.write_text(json.dumps({**report, "series": {"seeds": ran, "metrics": []}}))
    series = of_run(copied)
    assert series.seeds == [8, 7]
    (cause,) = explain(one, series).causes
    assert (cause.kind, cause.name, cause.left, cause.right) == ("seed", "seeds", "42", "7, 8")
    assert not explain(series, series).causes
    manifest = replace(one, named=replace(one.named, kind="manifest"))
    assert not explain(manifest, series).causes, "what it expects came from other seeds, which it names itself"
