"""CLIP's loss and recall at k by hand, captions by their rule, and the whole task on pictures of two kinds."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from repro_tui.tasks import contrastive_image_text as contrastive
from repro_tui.tasks.common import job as task
from repro_tui.tasks.common import vqa


def test_the_loss_of_two_pairs_worked_out_by_hand() -> None:
    pictures = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    texts = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # Similarities times 2: [[2.0, 1.2], [0.0, 1.6]]; rows are pictures, columns texts.
    rows = math.log(1 + math.exp(1.2 - 2.0)) + math.log(1 + math.exp(0.0 - 1.6))
    columns = math.log(1 + math.exp(0.0 - 2.0)) + math.log(1 + math.exp(1.2 - 1.6))
    found = contrastive.contrastive_loss(pictures, texts, scale=torch.tensor(2.0))
    assert found.item() == pytest.approx((rows / 2 + columns / 2) / 2)


def test_vectors_that_say_nothing_cost_the_logarithm_of_the_batch() -> None:
    same = torch.ones(5, 1)
    assert contrastive.contrastive_loss(same, same, scale=torch.tensor(9.0)).item() == pytest.approx(math.log(5))


def test_recall_against_a_count_by_sorting() -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(20, 12, generator=generator)
    matches = torch.rand(20, 12, generator=generator) < 0.2
    matches[:, 0] |= ~matches.any(dim=1)
    for k, value in contrastive.recall(scores, matches).items():
        hits = [any(matches[q, i] for i in scores[q].argsort(descending=True)[:k]) for q in range(20)]
        assert value == pytest.approx(sum(hits) / 20)


def test_a_tie_never_helps() -> None:
    scores = torch.tensor([[0.5, 0.5, 0.1]])
    assert contrastive.recall(scores, torch.tensor([[True, False, False]])) == {1: 0.0, 5: 1.0, 10: 1.0}
    assert contrastive.recall(scores, torch.tensor([[True, True, False]]))[1] == 1.0, "both are right"


def test_what_is_no_number_is_not_found() -> None:
    matches = torch.eye(3, dtype=torch.bool)
    assert contrastive.recall(torch.full((3, 3), math.nan), matches) == {1: 0.0, 5: 0.0, 10: 0.0}
    scores = torch.tensor([[0.9, math.nan, 0.1], [0.1, 0.9, 0.2], [0.1, 0.2, math.nan]])
    found = contrastive.recall(scores, matches)
    assert (found[1], found[5]) == pytest.approx((1 / 3, 2 / 3)), "a wrong one without a score is put before"


@pytest.mark.parametrize(
    ("questions", "expected"),
    [
        ([("what color is the shape?", "red"), ("what shape is in the image?", "circle")], "a red circle"),
        ([("what is the color of the circle?", "red")], "a red circle"),
        ([("what is the teal shape?", "triangle")], "a teal triangle"),
        ([("is there a red shape?", "yes"), ("is there not a circle?", "no")], "a red circle"),
        ([("does the image not contain a gray shape?", "no"), ("is a circle present?", "yes")], "a gray circle"),
        ([("is there a red shape?", "no"), ("what shape is in the image?", "circle")], None),
        ([("is no red shape present?", "yes"), ("is a circle present?", "yes")], None),
        ([], None),
    ],
)
def test_captions_say_what_the_questions_say(questions: list[tuple[str, str]], expected: str | None) -> None:
    assert contrastive.caption(questions) == expected


def test_the_temperature_is_bounded_and_begins_where_it_is_said() -> None:
    model = contrastive.TwoEncoders(4, contrastive.Settings(temperature=0.07))
    assert model.scale().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        model.log_scale.fill_(10.0)
    assert model.scale().item() == pytest.approx(100.0)
    model.scale().backward()
    assert model.log_scale.grad is not None
    assert model.log_scale.grad.item() == pytest.approx(100.0), "training can take it down again"
    pictures, texts = model(torch.randn(3, 3, 8, 8), torch.randn(3, 4))
    assert torch.allclose(pictures.norm(dim=1), torch.ones(3))
    assert torch.allclose(texts.norm(dim=1), torch.ones(3))


def test_the_encoders_have_the_layers_of_their_definition() -> None:
    words, settings = 11, contrastive.Settings(channels=(4, 6), hidden_size=7, embedding_size=5)
    with torch.device("meta"):
        model = contrastive.TwoEncoders(words, settings)
    convolutions = 9 * (3 * 4 + 4 * 6) + 2 * (4 + 6)  # 3x3 without bias, each with its norm
    picture = convolutions + (6 + 1) * 5
    text = (words + 1) * 7 + (7 + 1) * 5
    temperature = 1
    assert sum(parameter.numel() for parameter in model.parameters()) == picture + text + temperature


def written(folder: Path, count: int) -> dict[str, Any]:
    (folder / "images").mkdir(parents=True)
    questions = []
    for number in range(count):
        colour = ("red", "blue")[number % 2]
        Image.new("RGB", (8, 8), colour).save(folder / "images" / f"{number}.png")
        questions.append(["what color is the circle?", colour, number])
    (folder / "questions.json").write_text(json.dumps(questions[:-1]))
    return {"path": str(folder), "format": "easy-vqa", "examples": count}


def test_the_task_brings_pictures_to_their_captions_and_repeats_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: Callable[..., list[dict[str, Any]]]
) -> None:
    values = {"learning_rate": 0.02, "epochs": 6, "train_batch_size": 4, "channels": [4], "embedding_size": 4}
    body = {
        "model": None, "seed": 1, "level": "bitwise", "threads": 1, "out": str(tmp_path),
        "hyperparameters": dataclasses.asdict(contrastive.Settings()) | values,
        "splits": {"train": written(tmp_path / "train", 24), "test": written(tmp_path / "test", 9)},
    }  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(body))
    monkeypatch.setenv("REPRO_JOB", str(tmp_path / "job.json"))
    assert task.run(contrastive.main) == 0
    assert task.run(contrastive.main) == 0
    found = {event["name"]: event["value"] for event in events("metric")}
    assert set(found) == set(contrastive.METRICS)
    assert found["image_to_text_recall_1"] == found["text_to_image_recall_1"] == 1.0
    outputs = [(event["name"], event["sha256"]) for event in events("output")]
    assert outputs[:3] == outputs[3:]
    assert "test: 1 of 9 pictures have no caption" in [event["text"] for event in events("note")]
    assert (tmp_path / "predictions.tsv").read_text().splitlines()[1] == "0\ta red circle\ta red circle"


def test_a_split_without_captions_is_refused(tmp_path: Path) -> None:
    picture = vqa.Picture(0, torch.zeros(3, 8, 8), (("is it red?", "yes"),))
    with pytest.raises(task.TaskError, match=r"splits\.train: no picture's questions say both"):
        contrastive.with_captions("train", [picture])
