"""Manifests with stages: what is allowed, what a stage's job says, and where a difference is named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro_tui.manifest import pins
from repro_tui.manifest.loading import LoadedManifest, inspect, load
from tests.system.lab import to_toml

Change = Callable[[dict[str, Any]], object]

ARTIFACTS = [
    {
        "name": name, "kind": kind, "path": f"{name}/x", pin: "a" * 64, "bytes": 1,
        "sources": [{"type": "local", "path": "x"}],
    }
    for name, kind, pin in (
        ("texts", "data", "sha256"), ("other", "data", "sha256"), ("model", "weights", "sha256"),
        ("code", "code", "tree_sha256"),
    )
]  # fmt: skip
MANIFEST: dict[str, Any] = {
    "schema": 1,
    "experiment": {"name": "staged", "title": "Two stages", "authors": ["A. Author"], "licence": "CC0-1.0"},
    "image": {"reference": f"localhost:5000/x@sha256:{'b' * 64}"},
    "environment": {},
    "artifacts": ARTIFACTS,
    "stage": [
        {
            "name": "prepare", "task": {"name": "data_preparation"},
            "splits": {"train": {"artifact": "texts"}, "test": {"part_of": "train", "fraction": 0.5, "seed": 1}},
        },
        {
            "name": "train", "needs": ["prepare"], "task": {"name": "text_classification", "model": "model"},
            "splits": {
                split: {"stage": "prepare", "file": f"{split}.jsonl", "format": "jsonl"} for split in ("train", "test")
            },
            "hyperparameters": {"learning_rate": 0.01, "epochs": 1},
        },
        {
            "name": "shrink", "needs": ["train"], "hyperparameters": {"part": 0.5},
            "task": {"command": ["python3", "shrink.py", "{part}"], "code": "code"},
        },
    ],
    "determinism": {"seed": 7},
    "expected": {"metrics": [{"name": "accuracy", "stage": "train", "value": 0.9, "absolute": 0.0}]},
    "claims": [{"metric": "size", "stage": "shrink", "split": "x", "value": 1, "within": 0.1, "source": "a paper"}],
}  # fmt: skip


def write(folder: Path, change: Change | None = None) -> Path:
    body = copy.deepcopy(MANIFEST)
    if change is not None:
        change(body)
    path = folder / "staged.toml"
    path.write_text(to_toml(body))
    return path


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedManifest:
    return load(write(tmp_path))


def test_every_stage_has_a_job_of_its_own(loaded: LoadedManifest) -> None:
    prepare, train, shrink = loaded.manifest.every_stage
    assert pins.job(loaded, prepare)["splits"]["train"]["path"] == "/inputs/texts/x"
    assert pins.job(loaded, train)["splits"]["test"]["path"] == "/inputs/stages/prepare/test.jsonl"
    assert pins.job(loaded, train)["hyperparameters"]["epochs"] == 1
    assert pins.command(loaded, shrink) == ["python3", "shrink.py", "0.5"]
    assert loaded.manifest.all_hyperparameters["shrink.part"] == 0.5


def test_a_difference_is_named_with_its_stage(loaded: LoadedManifest, tmp_path: Path) -> None:
    def change(body: dict[str, Any]) -> None:
        body["stage"][1]["hyperparameters"]["learning_rate"] = 0.02

    other = load(write(tmp_path, change))
    assert pins.differences(pins.pinned_job(loaded), pins.pinned_job(other)) == [
        ("stage.train.hyperparameters.learning_rate", 0.01, 0.02)
    ]
    line = loaded.line_of("stage.train.hyperparameters.learning_rate")
    assert line == loaded.line_of("stage[1].hyperparameters.learning_rate")


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (lambda body: body["stage"][1].pop("needs"), "stage[1].splits.train.stage", "a stage that `needs` names"),
        (lambda body: body["stage"][0].update(needs=["train"]), "stage[0].needs[0]", "no earlier stage"),
        (lambda body: body["stage"][1].update(name="prepare"), "stage[1].name", "stage[0] has already"),
        (lambda body: body["stage"][1]["task"].update(model="stages/pre"), "stage[1].task.model", "the stage"),
        (lambda body: body["stage"][1]["hyperparameters"].update(epoch=1), "stage[1].hyperparameters.epoch", "epochs"),
        (lambda body: body["stage"][1]["splits"].pop("test"), "stage[1].splits.test", "needs the split"),
        (lambda body: body["stage"][2]["task"].update(code="texts"), "stage[2].task.code", "of kind `code`"),
        (lambda body: body["stage"][2]["hyperparameters"].clear(), "stage[2].task.command[2]", "no hyperparameter"),
        (lambda body: body["expected"]["metrics"][0].pop("stage"), "expected.metrics[0].stage", "that it is of"),
        (lambda body: body["expected"]["metrics"][0].update(stage="x"), "expected.metrics[0].stage", "no stage"),
        (lambda body: body["expected"]["metrics"][0].update(name="size"), "expected.metrics[0].name", "not report"),
        (lambda body: body.update(task=body["stage"][0]["task"]), "", "one of the two"),
        (lambda body: body.update(hyperparameters={}), "", "are those of a stage"),
        (lambda body: body["stage"][1]["splits"]["train"].pop("file"), "stage[1].splits.train", "needs `file`"),
        (lambda body: body["artifacts"][0].update(path="stages/x"), "artifacts[0].path", "another folder"),
        (lambda body: body.pop("stage"), "", "one of the two"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(change: Change, path: str, words: str, tmp_path: Path) -> None:
    found = inspect(write(tmp_path, change)).problems
    assert any(each.toml_path == path and words in f"{each.found} {each.allowed} {each.hint}" for each in found), found
