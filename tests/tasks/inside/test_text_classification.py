"""The whole task on a tiny random encoder."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

import repro_tui
from repro_tui.tasks import text_classification
from repro_tui.tasks.common import job as task

HYPERPARAMETERS: dict[str, Any] = asdict(
    text_classification.Settings(
        learning_rate=0.01,
        epochs=2,
        train_batch_size=8,
        eval_batch_size=16,
        max_length=16,
        weight_decay=0.01,
        warmup_ratio=0.1,
    )
)


class Run:
    """One finished run of the task."""

    def __init__(self, out: Path, code: int, stderr: str) -> None:
        self.out = out
        self.code = code
        self.stderr = stderr
        lines = out.joinpath("metrics.jsonl").read_text().splitlines()
        self.events = [json.loads(line) for line in lines]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]

    def metrics(self, split: str) -> dict[str, float]:
        return {e["name"]: e["value"] for e in self.of("metric") if e["split"] == split and "step" not in e}

    def digests(self) -> dict[str, str]:
        return {event["name"]: event["sha256"] for event in self.of("output")}


Start = Callable[..., Run]


def examples(count: int, words: tuple[str, ...] = ("good", "bad")) -> str:
    """Return lines whose label is the word of it that they hold."""
    return "".join(
        f"{' '.join(f'w{(n * 31 + i) % 60}' for i in range(n % 9))} {words[n % len(words)]}\t{words[n % len(words)]}\n"
        for n in range(count)
    )


@pytest.fixture
def start(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Start:
    """Return a function that runs the task with some hyperparameters, splits and job keys changed.

    In this process, or in one of its own as the container starts it.
    """
    for name, count in (("train", 64), ("test", 20)):
        (tmp_path / f"{name}.tsv").write_text(examples(count))
    columns = {"format": "tsv", "text": 0, "label": 1, "text_pair": None, "first": None}

    def start_one(
        *,
        splits: dict[str, Any] | None = None,
        job: dict[str, Any] | None = None,
        own_process: bool = False,
        **changed: Any,
    ) -> Run:
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        out.mkdir()
        body = {
            "schema": 1, "task": "text_classification", "model": str(checkpoint), "seed": 1, "data_seed": 1,
            "level": "bitwise", "threads": 1, "cpu_capability": "avx2", "out": str(out),
            "hyperparameters": HYPERPARAMETERS | changed,
            "splits": splits or {
                name: {"path": str(tmp_path / f"{name}.tsv"), "examples": count, **columns}
                for name, count in (("train", 64), ("test", 20))
            },
            **(job or {}),
        }  # fmt: skip
        (out / "job.json").write_text(json.dumps(body))
        monkeypatch.setenv("REPRO_JOB", str(out / "job.json"))
        monkeypatch.setenv("REPRO_METRICS", str(out / "metrics.jsonl"))
        if not own_process:
            capfd.readouterr()
            code = task.run(text_classification.main)
            return Run(out, code, capfd.readouterr().err)
        process = subprocess.run(
            [sys.executable, "-m", "repro_tui.tasks.text_classification"],
            env={**os.environ, "PYTHONPATH": str(Path(repro_tui.__file__).parent.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        return Run(out, process.returncode, process.stderr)

    return start_one


def test_a_run_learns_tells_everything_and_repeats_to_the_bit(start: Start) -> None:
    runs = [start(own_process=True, epochs=6, dropout=0.0) for _ in range(2)]
    for run in runs:
        assert run.code == 0, run.stderr
    first, second = runs
    assert first.digests() == second.digests()
    assert first.metrics("test") == second.metrics("test")
    assert [e["loss"] for e in first.of("step")] == [e["loss"] for e in second.of("step")]

    assert first.metrics("test")["accuracy"] > 0.9  # half is chance
    assert list(first.metrics("test")) == ["accuracy", "macro_precision", "macro_recall", "macro_f1", "loss"]
    assert first.of("runtime")[0]["threads"] == 1
    assert [event["phase"] for event in first.of("phase")] == ["train", "evaluate"]
    assert [event["name"] for event in first.of("table")] == ["per_class", "confusion_matrix"]
    assert len(first.of("step")) == 6 * 8
    for event in first.of("output"):
        assert hashlib.sha256((first.out / event["path"]).read_bytes()).hexdigest() == event["sha256"]
    lines = (first.out / "predictions.tsv").read_text().splitlines()
    assert lines[0] == "example\tlabel\tpredicted"
    assert [line.split("\t")[:2] for line in lines[1:3]] == [["0", "good"], ["1", "bad"]]
    assert len(lines) == 21
    with safe_open(first.out / "model.safetensors", framework="pt") as tensors:
        assert tensors.get_tensor("classifier.weight").shape == (2, 16)


@pytest.mark.parametrize("averaging", ["macro", "binary"])
def test_the_metrics_are_those_of_the_written_weights(
    start: Start, tmp_path: Path, checkpoint: Path, averaging: str
) -> None:
    words = ("bad", "fine", "good") if averaging == "macro" else ("bad", "good")
    for name, count in (("train", 64), ("test", 20)):
        (tmp_path / f"{name}.tsv").write_text(examples(count, words))
    run = start(averaging=averaging, epochs=1, dropout=0.0, learning_rate=0.004)
    assert run.code == 0, run.stderr
    found = run.metrics("test")
    rows = [line.split("\t") for line in (run.out / "predictions.tsv").read_text().splitlines()[1:]]
    assert found["accuracy"] == pytest.approx(sum(true == predicted for _, true, predicted in rows) / 20)
    f1 = {}
    for word in words:
        right = sum(true == predicted == word for _, true, predicted in rows)
        marked = sum((true == word) + (predicted == word) for _, true, predicted in rows)
        f1[word] = 2 * right / marked
    assert found[f"{averaging}_f1"] == pytest.approx(sum(f1.values()) / 3 if averaging == "macro" else f1["good"])

    config = BertConfig.from_pretrained(checkpoint, num_labels=len(words))
    model = BertForSequenceClassification(config).eval()
    model.load_state_dict(load_file(run.out / "model.safetensors"))
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    nats, predicted = [], []
    for line in (tmp_path / "test.tsv").read_text().splitlines():
        text, label = line.split("\t")
        with torch.inference_mode():
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
        nats.append(-logits.log_softmax(0)[words.index(label)].item())
        predicted.append(words[logits.argmax()])
    assert predicted == [row[2] for row in rows]
    assert found["loss"] == pytest.approx(sum(nats) / 20, rel=1e-5)
    assert 0 < found["accuracy"] < 1


def test_seed_and_data_seed_each_change_the_weights(start: Start) -> None:
    runs = [start(), start(job={"seed": 2}), start(job={"data_seed": 2})]
    assert len({run.digests()["weights"] for run in runs}) == 3


def test_validation_chooses_and_test_is_evaluated_once(start: Start, tmp_path: Path) -> None:
    columns = {"format": "tsv", "text": 0, "label": 1}
    splits = {
        "train": {"path": str(tmp_path / "train.tsv"), **columns},
        "validation": {"part_of": "train", "fraction": 0.25, "seed": 1, "stratified": True, "examples": 16},
        "test": {"path": str(tmp_path / "test.tsv"), **columns},
    }
    run = start(splits=splits, select_best_on="macro_f1", evaluate_every=2)
    assert run.code == 0, run.stderr
    tried = {e["step"]: e["value"] for e in run.of("metric") if e["name"] == "macro_f1" and "step" in e}
    assert list(tried) == [2, 4, 6, 8, 10, 12]
    assert run.metrics("validation")["macro_f1"] == max(tried.values())
    assert len([e for e in run.of("metric") if e["split"] == "test" and e["name"] == "accuracy"]) == 1


def test_binary_averaging_bf16_and_accumulation(start: Start) -> None:
    run = start(averaging="binary", precision="bf16", gradient_accumulation_steps=2, dropout=0.0)
    assert run.code == 0, run.stderr
    assert list(run.metrics("test")) == ["accuracy", "binary_precision", "binary_recall", "binary_f1", "loss"]
    assert len(run.of("step")) == 8


@pytest.mark.parametrize(
    ("content", "changed", "words"),
    [
        ("a good\tgood\nb\tugly\n", {}, "splits.test has the label 'ugly', which no training example has"),
        (examples(19), {}, "splits.test has 19 examples, 20 are pinned"),
        (None, {"learning_rate": 1e38, "max_grad_norm": 0.0}, "the training loss is"),
        (None, {"max_length": 64}, "max_length is 64, the model takes 32 tokens"),
        (None, {"precision": "fp16"}, "fp16 needs a GPU"),
    ],
)
def test_what_a_user_can_put_right_is_one_line(
    start: Start, tmp_path: Path, content: str | None, changed: dict[str, Any], words: str
) -> None:
    if content is not None:
        (tmp_path / "test.tsv").write_text(content)
    splits = None
    if content is not None and "ugly" in content:
        splits = {
            name: {"path": str(tmp_path / f"{name}.tsv"), "format": "tsv", "text": 0, "label": 1}
            for name in ("train", "test")
        }
    run = start(splits=splits, **changed)
    assert run.code == 1
    assert words in run.stderr
    assert "Traceback" not in run.stderr
    assert words in run.of("note")[-1]["text"]
    assert not run.metrics("test")


def test_from_scratch_takes_no_weights_from_the_checkpoint(start: Start) -> None:
    runs = [start(learning_rate=1e-12, from_scratch=value, max_steps=1) for value in (False, True, True)]

    def embeddings(run: Run) -> Any:
        assert run.code == 0, run.stderr
        with safe_open(run.out / "model.safetensors", framework="pt") as tensors:
            return tensors.get_tensor("bert.embeddings.word_embeddings.weight")

    pretrained, drawn, again = map(embeddings, runs)
    assert bool((drawn == again).all())
    assert float((pretrained - drawn).abs().mean()) > 0.01  # both N(0, 0.02)


def test_binary_averaging_needs_two_classes(start: Start, tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text(examples(64, ("good", "bad", "fine")))
    run = start(averaging="binary")
    assert run.code == 1
    assert 'averaging = "binary" needs two classes, train has 3' in run.stderr


def test_a_folder_without_a_checkpoint_is_named(start: Start, tmp_path: Path) -> None:
    run = start(job={"model": str(tmp_path)})
    assert run.code == 1
    assert f"{tmp_path} holds no config.json" in run.stderr


def test_a_checkpoint_with_a_head_gets_a_new_one(start: Start, tmp_path: Path) -> None:
    first = start(learning_rate=1e-12)
    trained = tmp_path / "trained"
    trained.mkdir()
    source = Path(json.loads((first.out / "job.json").read_text())["model"])
    for file in source.iterdir():
        (trained / file.name).write_bytes(file.read_bytes())
    (trained / "model.safetensors").write_bytes((first.out / "model.safetensors").read_bytes())
    second = start(learning_rate=1e-12, job={"model": str(trained), "seed": 9})
    assert second.code == 0, second.stderr

    def head(run: Run) -> Any:
        with safe_open(run.out / "model.safetensors", framework="pt") as tensors:
            return tensors.get_tensor("classifier.weight")

    assert not bool((head(first) - head(second)).abs().max() < 1e-3)
