"""Pictures with questions: the format, the model against its definition, accuracy by type, and the whole task."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from repro_tui.tasks import visual_question_answering as answering
from repro_tui.tasks.common import job as task
from repro_tui.tasks.common import vqa
from repro_tui.tasks.common.job import TaskError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def written(folder: Path, count: int) -> Path:
    """Write a folder of red and blue pictures, two questions about each but the last."""
    (folder / "images").mkdir(parents=True)
    questions = []
    for number in range(count):
        Image.new("RGB", (8, 8), (RED, BLUE)[number % 2]).save(folder / "images" / f"{number}.png")
        name, is_red = ("red", "blue")[number % 2], ("yes", "no")[number % 2]
        questions += [["what color is it?", name, number], ["is it red?", is_red, number]]
    (folder / "questions.json").write_text(json.dumps(questions[:-2]))
    return folder


def spec(folder: Path, **changed: Any) -> dict[str, Any]:
    return {"path": str(folder), "format": "easy-vqa", "first": None, **changed}


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    pictures = vqa.load({"train": spec(written(tmp_path / "a", 12), examples=12)})["train"]
    assert [picture.number for picture in pictures] == list(range(12)), "10 after 9, not after 1"
    assert pictures[1].questions == (("what color is it?", "blue"), ("is it red?", "no"))
    assert pictures[-1].questions == ()
    assert pictures[0].pixels[:, 0, 0].tolist() == [255, 0, 0]
    assert vqa.scaled(pictures[0].pixels[None])[0, :, 0, 0].tolist() == [0.5, -0.5, -0.5]


def test_parts_are_drawn_by_picture_and_answers_are_counted(tmp_path: Path) -> None:
    classes = {"red": 2, "blue": 1, "yes": 2, "no": 1}
    part = {"part_of": "train", "fraction": 0.5, "seed": 1, "examples": 2}
    splits = vqa.load({"train": spec(written(tmp_path / "a", 4), classes=classes), "validation": part})
    assert sorted(picture.number for pictures in splits.values() for picture in pictures) == [0, 1, 2, 3]
    with pytest.raises(TaskError, match=r"splits\.train has another class balance: red 2 \(pinned 3\)"):
        vqa.load({"train": spec(tmp_path / "a", classes=classes | {"red": 3})})
    with pytest.raises(TaskError, match=r"splits\.train has 4 examples, 5 are pinned"):
        vqa.load({"train": spec(tmp_path / "a", examples=5)})


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", 3)
    with pytest.raises(TaskError, match=r"splits\.train: .*questions\.json: No such file"):
        vqa.load({"train": spec(tmp_path)})
    (folder / "images" / "1.png").write_bytes(b"no picture")
    with pytest.raises(TaskError, match=r"1\.png: cannot identify"):
        vqa.load({"train": spec(folder)})
    (folder / "images" / "1.png").unlink()
    with pytest.raises(TaskError, match=r"has no 1\.png"):
        vqa.load({"train": spec(folder)})
    Image.new("RGB", (4, 8)).save(folder / "images" / "1.png")
    with pytest.raises(TaskError, match="pictures of several sizes"):
        vqa.load({"train": spec(folder)})
    (folder / "questions.json").write_text('[["what?", "red"]]')
    with pytest.raises(TaskError, match="is not of the format easy-vqa"):
        vqa.load({"train": spec(folder)})


def test_answers_are_counted_without_what_is_skipped(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", 6)
    splits = vqa.load({"train": spec(folder, skip=1, first=2, classes={"red": 1, "blue": 1, "yes": 1, "no": 1})})
    assert [picture.number for picture in splits["train"]] == [1, 2]
    assert len(vqa.load({"train": spec(folder, skip=5, classes={})})["train"]) == 1, "nothing is asked about the last"


def test_a_split_without_a_question_is_refused() -> None:
    picture = vqa.Picture(0, torch.zeros(3, 8, 8), ())
    with pytest.raises(TaskError, match=r"splits\.test: no question is asked about its pictures"):
        answering.encode("test", [picture], {}, ["red"])


def test_pictures_too_large_for_pillow_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path / "a", 2)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)
    with pytest.raises(TaskError, match=r"0\.png: Image size \(64 pixels\) exceeds limit"):
        vqa.load({"train": spec(folder)})


def test_words_are_counted() -> None:
    numbers = vqa.vocabulary(["Is it red?", "it is not"])
    assert numbers == {"is": 0, "it": 1, "not": 2, "red": 3}
    assert vqa.bags(["red, RED not green"], numbers).tolist() == [[0, 0, 1, 2]]


def test_the_model_is_the_product_of_two_codes() -> None:
    torch.manual_seed(0)
    settings = answering.Settings(channels=(4, 6), hidden_size=5)
    model = answering.Fused(7, 3, settings).eval()
    picture = (3 * 4 * 9 + 2 * 4) + (4 * 6 * 9 + 2 * 6) + (6 * 5 + 5) + 2 * 5
    question = (7 * 5 + 5) + (5 * 5 + 5)
    head = (5 * 5 + 5) + (5 * 3 + 3)
    assert sum(parameter.numel() for parameter in model.parameters()) == picture + question + head

    pictures, questions = torch.randn(2, 3, 8, 8), torch.randn(3, 7)
    owners = torch.tensor([1, 0, 1])
    with torch.inference_mode():
        features = model.picture.blocks(pictures)
        assert features.shape == (2, 6, 2, 2)
        codes = model.picture.linear(features.flatten(2).max(dim=2).values)
        spread = codes.var(dim=1, correction=0, keepdim=True)
        seen = torch.tanh((codes - codes.mean(dim=1, keepdim=True)) / (spread + 1e-5).sqrt())
        asked = model.question(questions)
        fused = torch.stack([asked[0] * seen[1], asked[1] * seen[0], asked[2] * seen[1]])
        assert torch.allclose(model(pictures, questions, owners), model.head(fused), atol=1e-6)


def test_accuracy_by_type_worked_out_by_hand() -> None:
    questions = ["what color is the circle?", "what is the red shape?", "is there a circle?", "is there no circle?"]
    assert [answering.kind(question) for question in questions] == ["colour", "shape", "yes_no", "yes_no"]
    found = answering.by_type(questions, [True, False, True, False])
    assert found == {"yes_no_accuracy": 0.5, "shape_accuracy": 0.0, "colour_accuracy": 1.0}
    assert answering.by_type(questions[:1], [False]) == {"colour_accuracy": 0.0}


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a function that runs the task with some hyperparameters changed."""
    train, test = written(tmp_path / "train", 24), written(tmp_path / "test", 9)

    def run(**changed: Any) -> int:
        values = {"learning_rate": 0.02, "epochs": 8, "train_batch_size": 4, "channels": [4], "hidden_size": 8}
        body = {
            "model": None, "seed": 1, "level": "bitwise", "threads": 1, "out": str(tmp_path),
            "hyperparameters": dataclasses.asdict(answering.Settings()) | values | changed,
            "splits": {"train": spec(train), "test": spec(test)},
        }  # fmt: skip
        (tmp_path / "job.json").write_text(json.dumps(body))
        monkeypatch.setenv("REPRO_JOB", str(tmp_path / "job.json"))
        return task.run(answering.main)

    return run


def test_the_task_learns_from_pictures_and_repeats_to_the_bit(
    start: Callable[..., int], events: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    assert start() == 0
    assert start() == 0
    values = {event["name"]: event["value"] for event in events("metric")}
    assert set(values) <= set(answering.METRICS)
    assert values["accuracy"] == values["colour_accuracy"] == values["yes_no_accuracy"] == 1.0
    outputs = [(event["name"], event["sha256"]) for event in events("output")]
    assert outputs[:3] == outputs[3:]
    assert [name for name, _ in outputs[:3]] == list(answering.OUTPUTS)
    lines = (tmp_path / "predictions.tsv").read_text().splitlines()
    assert lines[1] == "0\twhat color is it?\tred\tred"
    assert len(lines) == 1 + 16


def test_the_question_alone_does_not_say_it(
    start: Callable[..., int], events: Callable[..., list[dict[str, Any]]]
) -> None:
    assert start(inputs="question") == 0
    assert {event["name"]: event["value"] for event in events("metric")}["accuracy"] == 0.5


def test_an_answer_that_training_does_not_have_is_named(
    start: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test" / "questions.json").write_text('[["what color is it?", "mauve", 0]]')
    assert start() == 1
    assert "splits.test has the answer 'mauve', which no training example has" in capsys.readouterr().err
