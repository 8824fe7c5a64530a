"""The whole task on a few small pictures."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from repro_tui.tasks import image_classification
from repro_tui.tasks.common import backbones
from repro_tui.tasks.image_classification import Classifier, Settings, measured
from tests.tasks.inside.picture_tasks import Run, run, write_pictures


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    return partial(run, image_classification, tmp_path, monkeypatch.setenv)


def test_a_run_learns_tells_everything_and_repeats_to_the_bit(start: Callable[..., Run], tmp_path: Path) -> None:
    splits = {name: write_pictures(tmp_path, name, count) for name, count in (("train", 40), ("test", 12))}
    splits["validation"] = {"part_of": "train", "fraction": 0.2, "seed": 1, "stratified": True, "examples": 8}
    first, second = (
        start(splits=splits, width=2, learning_rate=0.02, epochs=3, crop_padding=1, class_names=("left", "right"))
        for _ in range(2)
    )
    assert first.code == 0
    assert first.digests() == second.digests()
    assert list(first.digests()) == ["weights", "config", "predictions"]
    assert first.metrics()["accuracy"] > 0.8  # half is chance
    assert list(first.metrics()) == ["accuracy", "macro_precision", "macro_recall", "macro_f1", "loss"]
    assert {event["class"]: event["value"] for event in first.of("metric") if "class" in event}.keys() == {
        "left",
        "right",
    }
    assert set(first.metrics("validation")) == set(first.metrics())
    assert [event["name"] for event in first.of("table")] == ["per_class", "confusion_matrix"]
    lines = (first.out / "predictions.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in lines[:3]] == [["example", "label"], ["0", "left"], ["1", "right"]]


@pytest.mark.parametrize("architecture", ["conv-encoder", "dcgan-discriminator"])
def test_a_frozen_network_stays_as_its_checkpoint(start: Callable[..., Run], architecture: str) -> None:
    before = start(architecture=architecture, width=2, epochs=1)
    after = start(architecture=architecture, width=2, epochs=4, learning_rate=0.02, freeze=True, model=before.out)
    assert after.code == 0
    old, new = (load_file(each.out / "model.safetensors") for each in (before, after))
    for name in old:
        assert torch.equal(old[name], new[name]) == name.startswith("backbone."), name
    assert after.metrics()["loss"] < before.metrics()["loss"]


def test_the_whole_network_is_trained_from_a_checkpoint(start: Callable[..., Run]) -> None:
    before = start(architecture="conv-encoder", width=2, epochs=1)
    after = start(architecture="conv-encoder", width=2, epochs=1, max_steps=1, model=before.out)
    name = "backbone.convolutions.0.weight"
    old, new = (load_file(each.out / "model.safetensors")[name] for each in (before, after))
    assert 0 < (old - new).abs().max() < 1e-3  # one step of 5e-5 away, not drawn anew


def test_what_cannot_be_is_said(start: Callable[..., Run]) -> None:
    wrong = start(architecture="conv-encoder", freeze=True)
    assert wrong.code == 1
    assert wrong.of("note")[0]["text"].startswith("hyperparameters.freeze needs a checkpoint")
    wrong = start(architecture="efficientnet-lite0")
    assert wrong.of("note")[0]["text"].startswith("efficientnet-lite0 takes pictures in colour")
    wrong = start(architecture="conv-encoder", model=wrong.out)
    assert "holds no config.json" in wrong.of("note")[0]["text"]


def test_metrics_are_those_worked_out_by_hand() -> None:
    logits = torch.tensor([[6.0, 5, 4, 3, 2, 1], [1.0, 2, 3, 4, 5, 6], [1.0, 2, 3, 4, 5, 6], [6.0, 5, 4, 3, 2, 1]])
    predicted, found = measured(logits, torch.tensor([0, 5, 0, 1]), list("abcdef"))
    assert predicted == [0, 5, 5, 0]
    assert found.values["accuracy"] == 0.5
    assert found.values["top5_accuracy"] == 0.75  # the third picture's class comes last
    # Each row's logits are 1 to 6: the log of their sum is 6 + log(sum of exp(-k), k from 0 to 5) = 6.456193.
    assert found.values["loss"] == pytest.approx((0.456193 * 2 + 5.456193 + 1.456193) / 4, abs=1e-5)
    recall = {row[0]: row[2] for row in found.per_class[1]}
    assert recall == {"a": 0.5, "b": 0, "c": 0, "d": 0, "e": 0, "f": 1}


@pytest.mark.parametrize("key", ["freeze", "freeze_statistics"])
def test_norms_stay_in_evaluation(key: str) -> None:
    network = backbones.build("conv-encoder", (1, 8, 8), 2)
    settings = Settings(dropout=0.5, freeze=key == "freeze", freeze_statistics=key == "freeze_statistics")
    model = Classifier(network, 2, settings).train()
    assert model.dropout.training
    assert not network.norms[0].training
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert (trained == ["head.weight", "head.bias"]) == (key == "freeze")
