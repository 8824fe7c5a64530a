"""Pairs of texts: classes, similarities, and the pairs made from SQuAD's JSON."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from repro_tui.tasks import sentence_pairs
from repro_tui.tasks.common import entailment
from repro_tui.tasks.common import job as task
from repro_tui.tasks.common.job import TaskError

HYPERPARAMETERS: dict[str, Any] = asdict(
    sentence_pairs.Settings(learning_rate=0.01, epochs=8, train_batch_size=8, max_length=16, dropout=0.0)
)

Events = Callable[..., list[dict[str, Any]]]

COLUMNS = {"format": "tsv", "text": 0, "text_pair": 1, "label": 2}

Start = Callable[..., tuple[int, str, Path]]


@pytest.fixture
def start(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Start:
    """Return a function that runs the task on splits, some hyperparameters changed."""

    def start_one(splits: dict[str, Any], **changed: Any) -> tuple[int, str, Path]:
        body = {
            "model": str(checkpoint), "seed": 1, "level": "bitwise", "threads": 1, "cpu_capability": "avx2",
            "hyperparameters": HYPERPARAMETERS | changed, "splits": splits, "out": str(tmp_path),
        }  # fmt: skip
        (tmp_path / "job.json").write_text(json.dumps(body))
        monkeypatch.setenv("REPRO_JOB", str(tmp_path / "job.json"))
        capfd.readouterr()
        code = task.run(sentence_pairs.main)
        return code, capfd.readouterr().err, tmp_path

    return start_one


def tsv(folder: Path, name: str, count: int, *, scores: bool = False) -> dict[str, Any]:
    """Write pairs whose class, or score of 0 to 10, is whether both hold the same word; return the split."""
    words = ("good", "bad")
    lines = []
    for n in range(count):
        one, other = words[n % 2], words[(n // 2) % 2]
        label = str(10 * (one == other)) if scores else ("no", "yes")[one == other]
        lines.append(f"w{n % 60} {one}\t{other}\t{label}\n")
    path = folder / f"{name}.tsv"
    path.write_text("".join(lines))
    return {"path": str(path), "examples": count, **COLUMNS}


def final(events: Events) -> dict[str, float]:
    return {e["name"]: e["value"] for e in events("metric") if e["split"] == "test"}


def test_classes_of_pairs(start: Start, tmp_path: Path, events: Events) -> None:
    splits = {name: tsv(tmp_path, name, count) for name, count in (("train", 64), ("test", 20))}
    code, stderr, out = start(splits, averaging="binary")
    assert code == 0, stderr
    assert list(final(events)) == ["accuracy", "binary_precision", "binary_recall", "binary_f1", "loss"]
    assert [event["name"] for event in events("table")] == ["per_class", "confusion_matrix"]
    rows = [line.split("\t") for line in (out / "predictions.tsv").read_text().splitlines()[1:]]
    assert rows[0][:2] == ["0", "yes"]
    found = final(events)
    assert found["accuracy"] == pytest.approx(sum(label == predicted for _, label, predicted in rows) / 20)
    right = sum(label == predicted == "yes" for _, label, predicted in rows)
    marked = sum((label == "yes") + (predicted == "yes") for _, label, predicted in rows)
    assert found["binary_f1"] == pytest.approx(2 * right / marked)


def test_similarities_of_pairs(start: Start, tmp_path: Path, events: Events) -> None:
    splits = {name: tsv(tmp_path, name, count, scores=True) for name, count in (("train", 64), ("test", 20))}
    splits["validation"] = {"part_of": "train", "fraction": 0.25, "seed": 1, "stratified": False, "examples": 16}
    code, stderr, out = start(
        splits, objective="regression", score_scale=10.0, select_best_on="spearman", averaging="binary"
    )
    assert code == 0, stderr
    found = final(events)
    assert list(found) == ["pearson", "spearman", "loss"]
    lines = [line.split("\t") for line in (out / "predictions.tsv").read_text().splitlines()[1:]]
    true, predicted = zip(*((float(label), float(value)) for _, label, value in lines), strict=True)
    assert found["pearson"] == pytest.approx(pd.Series(true).corr(pd.Series(predicted)), abs=1e-4)
    assert found["loss"] == pytest.approx(
        sum(((a - b) / 10) ** 2 for a, b in zip(true, predicted, strict=True)) / len(true), rel=1e-3
    )


def test_correlations_are_pandas_and_those_worked_out_by_hand() -> None:
    true, predicted = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 3.0, 2.0, 4.0])
    # Ranks differ by 0, 1, 1, 0: 1 - 6 * 2 / (4 * 15).
    assert sentence_pairs.similarity(true, predicted) == pytest.approx({"pearson": 0.8, "spearman": 0.8, "loss": 0.5})
    true = torch.tensor([0.0, 0.0, 1.5, 2.5, 2.5, 9.0])
    predicted = torch.tensor([0.1, 0.3, 0.3, 0.2, 0.9, 0.8])
    found = sentence_pairs.similarity(true, predicted)
    theirs = pd.Series(true.tolist()), pd.Series(predicted.tolist())
    assert found["pearson"] == pytest.approx(theirs[0].corr(theirs[1]))
    assert found["spearman"] == pytest.approx(theirs[0].corr(theirs[1], method="spearman"))  # ties: their mean rank
    assert sentence_pairs.similarity(true, torch.ones(6))["spearman"] == 0.0


TEXT = 'Mr. Poe wrote it in 1845. "It sold well!" he said. was it 3.5 cents? The raven paid 9 dollars.'


def article(questions: list[tuple[str, str]], context: str = TEXT) -> dict[str, Any]:
    asked = [
        {
            "id": f"{context[:5]}{n}",
            "question": text,
            "answers": [{"text": answer, "answer_start": context.index(answer)}],
        }
        for n, (text, answer) in enumerate(questions)
    ]
    return {"title": "t", "paragraphs": [{"context": context, "qas": asked}]}


def test_sentences_end_where_white_space_and_no_small_letter_follow() -> None:
    assert [TEXT[slice(*span)] for span in entailment.sentences(TEXT)] == [
        "Mr.",
        "Poe wrote it in 1845.",
        '"It sold well!" he said. was it 3.5 cents?',
        "The raven paid 9 dollars.",
    ]
    assert entailment.sentences("one") == [(0, 3)]


def test_a_question_makes_a_pair_with_the_answer_and_one_without(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    other = article([("What is blue?", "The sky")], "The sky is blue.")
    crossing = ("When?", '1845. "It')
    path.write_text(json.dumps({"data": [article([("What did the raven say it sold?", "9"), crossing]), other]}))
    spec = {"path": str(path), "format": "squad", "examples": 3, "classes": {"entailment": 2, "not_entailment": 1}}
    rows = entailment.load_splits({"train": spec})["train"].to_list()
    assert [(row["text_pair"], row["label"]) for row in rows] == [
        ("The raven paid 9 dollars.", "entailment"),
        ('"It sold well!" he said. was it 3.5 cents?', "not_entailment"),  # shares "it" and "sold"
        ("The sky is blue.", "entailment"),
    ]
    part = {"part_of": "train", "fraction": 0.5, "seed": 1, "stratified": False}
    splits = entailment.load_splits({"train": spec, "test": part})
    assert sorted(len(split) for split in splits.values()) == [1, 2]  # an article is in one of them
    with pytest.raises(TaskError, match=r"splits\.train has 3 examples, 4 are pinned"):
        entailment.load_splits({"train": {**spec, "examples": 4}})


def test_skip_and_first_count_questions_whose_pairs_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    articles = [article([(f"{n}-{i}?", "1845") for i in range(2)], f"{n}{n}{n}. {TEXT}") for n in range(5)]
    path.write_text(json.dumps({"data": articles}))
    spec = {"path": str(path), "format": "squad"}
    some = entailment.load_splits({"train": {**spec, "skip": 1, "first": 4, "examples": 8}})["train"]
    assert some["text"] == [text for text in ("0-1?", "1-0?", "1-1?", "2-0?") for _ in range(2)]
    part = {"part_of": "train", "fraction": 0.4, "seed": 1, "stratified": False}
    whole = entailment.load_splits({"train": spec, "test": {**part, "examples": 8}})
    splits = entailment.load_splits({"train": spec, "test": {**part, "first": 3, "examples": 6}})
    assert splits["test"]["text"] == whole["test"]["text"][:6]
    assert splits["train"]["text"] == whole["train"]["text"]


def test_a_run_on_squads_json(start: Start, tmp_path: Path, events: Events) -> None:
    for name in ("train", "test"):
        (tmp_path / name).write_text(json.dumps({"data": [article([("w1 good?", "9"), ("w2?", "1845")])]}))
    splits = {name: {"path": str(tmp_path / name), "format": "squad", "examples": 4} for name in ("train", "test")}
    code, stderr, _ = start(splits, epochs=1)
    assert code == 0, stderr
    assert "macro_f1" in final(events)


@pytest.mark.parametrize(
    ("content", "changed", "hyperparameters", "words"),
    [
        ("a\tb\tyes\nb\tc\tno\n", {"text_pair": None}, {}, "splits.train has no second text"),
        ("a\tb\t1\nb\tc\tnan\n", {}, {"objective": "regression"}, "splits.train has the label 'nan' in example 1"),
        ("a\tb\t1\nb\tc\n", {}, {}, "line 2: 2 columns, column 2 is asked for"),
        ("a\tb\tx\nb\tc\ty\nc\tc\tz\n", {}, {"averaging": "binary"}, "needs two classes, train has 3"),
    ],
)
def test_what_a_user_can_put_right_is_one_line(
    start: Start, tmp_path: Path, content: str, changed: dict[str, Any], hyperparameters: dict[str, Any], words: str
) -> None:
    (tmp_path / "bad.tsv").write_text(content)
    spec = {"path": str(tmp_path / "bad.tsv"), **COLUMNS, **changed}
    code, stderr, _ = start({"train": spec, "test": spec}, **hyperparameters)
    assert code == 1
    assert words in stderr
    assert "Traceback" not in stderr


def test_a_comment_above_a_table_without_header_is_passed_over(start: Start, tmp_path: Path, events: Events) -> None:
    (tmp_path / "t.tsv").write_text("# Similarities\n# one\tother\tscore\na\tb\t1.5\nb\tc\t0\nc\tc\t9\n")
    spec = {"path": str(tmp_path / "t.tsv"), **COLUMNS, "skip": 1, "examples": 3}
    code, stderr, _ = start({"train": spec, "test": spec}, objective="regression", max_steps=1)
    assert code == 0, stderr
    assert "pearson" in final(events)
