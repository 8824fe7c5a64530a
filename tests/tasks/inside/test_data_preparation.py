"""Preparation of texts: what is written, counted, drawn and left out, by hand."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from repro_tui.tasks import data_preparation
from repro_tui.tasks.common.job import Job, TaskError

TRAIN = "Good  film\tpos\nBad film\tneg\nGood film\tpos\nfine\tpos\nawful\tneg\n"
TEST = "fine\tpos\nnever seen\tneg\n"


def prepare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, shared: str = "keep", **train: Any
) -> list[dict[str, Any]]:
    """Run the task on a few lines, and return what it tells."""
    out = tmp_path / "out"
    out.mkdir()
    for name, text in (("train", TRAIN), ("test", TEST)):
        (tmp_path / f"{name}.tsv").write_text(text)
    read = {"format": "tsv", "text": 0, "text_pair": None, "label": 1}
    splits = {
        name: {"path": str(tmp_path / f"{name}.tsv"), **read, **(train if name == "train" else {})}
        for name in ("train", "test")
    }
    part = {"part_of": "train", "fraction": 0.25, "seed": 1, "stratified": True}
    monkeypatch.setenv("REPRO_METRICS", str(out / "metrics.jsonl"))
    data_preparation.main(
        Job(
            model=None, seed=1, data_seed=1, level="bitwise", threads=1, device="cpu",
            hyperparameters={"shared": shared}, splits={**splits, "validation": part}, out=out,
        )
    )  # fmt: skip
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def rows(tmp_path: Path, split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (tmp_path / "out" / f"{split}.jsonl").read_text().splitlines()]


def test_splits_are_cleaned_drawn_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = prepare(tmp_path, monkeypatch, clean=["collapse-whitespace", "drop-duplicates"], examples=4)
    train, validation = rows(tmp_path, "train"), rows(tmp_path, "validation")
    assert len(train) == 3
    assert len(validation) == 1
    whole = [("Good film", "pos"), ("Bad film", "neg"), ("fine", "pos"), ("awful", "neg")]
    assert sorted((row["text"], row["label"]) for row in [*train, *validation]) == sorted(whole)
    assert rows(tmp_path, "test") == [{"label": "pos", "text": "fine"}, {"label": "neg", "text": "never seen"}]

    values = {
        (line["name"], line["split"], line.get("class")): line["value"] for line in told if line["event"] == "metric"
    }
    assert values["examples", "train", None] == 3
    assert values["class_share", "test", "pos"] == 0.5
    shares = [value for (name, split, _), value in values.items() if (name, split) == ("class_share", "train")]
    assert sum(shares) == pytest.approx(1)
    assert values["shared_with_train", "test", None] == int(any(row["text"] == "fine" for row in train))
    for line in (line for line in told if line["event"] == "output"):
        assert line["sha256"] == hashlib.sha256((tmp_path / "out" / line["path"]).read_bytes()).hexdigest()
    (table,) = (line for line in told if line["event"] == "table")
    assert ["test", "neg", 1] in table["rows"]


def test_examples_that_another_split_has_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, monkeypatch, shared="drop")
    outside = {row["text"] for split in ("validation", "test") for row in rows(tmp_path, split)}
    assert outside & {row["text"] for row in rows(tmp_path, "train")} == set()


def test_examples_that_another_split_has_end_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TaskError, match="1 of test"):
        prepare(tmp_path, monkeypatch, shared="refuse", clean=["drop-duplicates"], first=None)


def test_another_number_of_examples_ends_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TaskError, match="has 5 examples, 6 are pinned"):
        prepare(tmp_path, monkeypatch, examples=6)
