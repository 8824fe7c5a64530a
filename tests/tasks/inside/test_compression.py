"""Distillation, integers and pruning on a tiny random teacher, and each of their parts against a value worked out."""

import copy
import json
import math
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from repro_tui.tasks import compression
from repro_tui.tasks.common.int8 import WEIGHT_LEVELS, Int8Linear, quantise
from repro_tui.tasks.common.job import TaskError, load
from repro_tui.tasks.common.shrinking import distillation_loss, labels_of, pruned, student_of

LABELS = ("bad", "good")
Compress = Callable[..., dict[str, Any]]


def text(number: int) -> str:
    return f"w{number} w{number * 7 % 60} {LABELS[number % 2]}"


@pytest.fixture(scope="module")
def teacher_folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint with a head, as a fine-tuning leaves it."""
    folder = tmp_path_factory.mktemp("teacher")
    for file in checkpoint.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=2)
    nn.init.normal_(model.classifier.weight)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def teacher(teacher_folder: Path) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(teacher_folder, num_labels=2).eval()


@pytest.fixture
def compress(tmp_path: Path, teacher_folder: Path, events: Callable[..., list[dict[str, Any]]]) -> Compress:
    """Return a function that runs the task and returns its metrics on the test split."""

    def run(model: Path = teacher_folder, *, validation: bool = False, **settings: Any) -> dict[str, Any]:
        splits: dict[str, Any] = {}
        for name, count in (("train", 24), ("test", 10)):
            file = tmp_path / f"{name}.tsv"
            file.write_text("".join(f"{text(n)}\t{LABELS[n % 2]}\n" for n in range(count)))
            splits[name] = {
                "path": str(file), "format": "tsv", "text": 0, "label": 1, "text_pair": None, "first": None,
                "examples": count,
            }  # fmt: skip
        if validation:
            splits["validation"] = {"part_of": "train", "fraction": 0.5, "seed": 1, "stratified": True, "examples": 12}
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        values = {"epochs": 1, "train_batch_size": 8, "max_length": 16, "learning_rate": 1e-3, **settings}
        body = {
            "model": str(model), "seed": 3, "level": "metric", "threads": 1, "splits": splits, "out": str(out),
            "hyperparameters": asdict(compression.Settings(**values)),
        }  # fmt: skip
        (tmp_path / "job.json").write_text(json.dumps(body))
        before = len(events())
        compression.main(load(tmp_path / "job.json"))
        told = events()[before:]
        found = {e["name"]: e["value"] for e in told if e["event"] == "metric" and e["split"] == "test"}
        assert set(found) == set(compression.METRICS)
        assert [e["name"] for e in told if e["event"] == "output"] == list(compression.OUTPUTS)
        return found

    return run


def test_a_student_has_fewer_layers_and_starts_as_its_teacher(teacher: Any) -> None:
    student = student_of(teacher, 1)
    assert [len(model.bert.encoder.layer) for model in (teacher, student)] == [2, 1]
    assert student.config.num_hidden_layers == 1
    first = teacher.bert.encoder.layer[0].attention.self.query.weight
    assert torch.equal(student.bert.encoder.layer[0].attention.self.query.weight, first)
    assert torch.equal(student.classifier.weight, teacher.classifier.weight)
    with pytest.raises(TaskError, match="the teacher has 2"):
        student_of(teacher, 3)


def test_the_soft_loss_is_the_divergence_at_that_temperature() -> None:
    logits, targets = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0 * math.log(3.0), 0.0]])
    # At temperature 2 the teacher gives 3/4 and 1/4, the student 1/2 each.
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert distillation_loss(logits, targets, 2.0).item() == pytest.approx(4 * divergence, rel=1e-6)
    assert distillation_loss(targets, targets, 2.0).item() == pytest.approx(0.0, abs=1e-6)


def test_pruning_keeps_the_largest_weights_of_all_layers_together_and_holds_the_zeros() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, -4.0]]))
        model[1].weight.copy_(torch.tensor([[5.0, -6.0], [0.5, 0.25]]))
    with pruned(model, 0.5):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "1.weight"]
    assert (model[0].weight != 0).tolist() == [[False, False], [True, True]]
    assert (model[1].weight != 0).tolist() == [[True, True], [False, False]]
    assert model[1].weight[0, 1].item() == pytest.approx(-5.9)  # the others went on: its input was -1


@pytest.mark.parametrize("bias", [True, False])
def test_integers_give_exactly_what_their_definition_does(bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(40, 12, bias=bias)
    inputs = torch.randn(3, 5, 40)
    weight_scale = linear.weight.detach().double().abs().amax(1, keepdim=True) / WEIGHT_LEVELS
    input_scale = inputs.double().abs().amax(-1, keepdim=True) / 127
    by_hand = torch.round(inputs.double() / input_scale) @ torch.round(linear.weight.double() / weight_scale).t()
    by_hand = by_hand * input_scale * weight_scale.squeeze(-1) + (linear.bias.double() if bias else 0.0)
    found = Int8Linear(linear)(inputs)
    assert found.dtype is torch.float32
    assert torch.allclose(found.double(), by_hand, atol=1e-5)
    assert (found - linear(inputs)).norm() / linear(inputs).norm() < 0.02


def test_the_product_of_integers_is_exact_where_the_processor_adds_in_16_bits() -> None:
    linear = nn.Linear(512, 16, bias=False)
    nn.init.ones_(linear.weight)  # every integer at its bound
    found = Int8Linear(linear)(torch.ones(32, 512))
    assert torch.allclose(found, torch.full((32, 16), 512.0), rtol=1e-6)


def test_quantise_replaces_every_linear_layer(teacher: Any) -> None:
    compressed = copy.deepcopy(teacher)
    assert quantise(compressed) == 2 * 6 + 2
    assert not any(type(module) is nn.Linear for module in compressed.modules())


def test_distillation_leaves_a_smaller_model(compress: Compress, tmp_path: Path) -> None:
    found = compress(method="distillation", layers=1)
    assert not [name for name in load_file(tmp_path / "out" / "model.safetensors") if "layer.1." in name]
    assert found["bytes"] < found["teacher_bytes"]
    lines = (tmp_path / "out" / "predictions.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    assert lines[0] == "example\tlabel\tpredicted\tteacher"
    assert found["accuracy"] == pytest.approx(sum(row[1] == row[2] for row in rows) / 10)
    assert found["teacher_accuracy"] == pytest.approx(sum(row[1] == row[3] for row in rows) / 10)
    assert found["agreement"] == pytest.approx(sum(row[2] == row[3] for row in rows) / 10)


def test_integers_train_nothing_and_take_less_room(compress: Compress, tmp_path: Path, events: Any) -> None:
    found = compress(method="int8")
    assert not events("step")
    assert found["agreement"] >= 0.9
    weight = load_file(tmp_path / "out" / "model.safetensors")["bert.encoder.layer.0.attention.self.query.weight"]
    assert weight.dtype is torch.int8
    assert found["bytes"] == (tmp_path / "out" / "model.safetensors").stat().st_size


def test_pruning_leaves_so_many_zeros_which_compress(compress: Compress) -> None:
    found = compress(method="pruning", sparsity=0.75)
    of_linear_layers = 2 * (4 * 16 * 16 + 2 * 16 * 32) + 16 * 16 + 16 * 2
    zeros = found["parameters"] - found["nonzero_parameters"]
    assert zeros >= round(0.75 * of_linear_layers)
    assert found["compressed_bytes"] < found["bytes"]
    assert found["bytes"] == pytest.approx(found["teacher_bytes"], rel=0.01)


@pytest.mark.parametrize("method", ["distillation", "int8", "pruning"])
def test_the_metrics_are_those_of_the_written_file(
    compress: Compress, teacher: Any, teacher_folder: Path, tmp_path: Path, method: str
) -> None:
    found = compress(method=method, layers=1)
    file = tmp_path / "out" / "model.safetensors"
    tensors = load_file(file)
    assert found["bytes"] == file.stat().st_size
    assert found["teacher_bytes"] == (teacher_folder / "model.safetensors").stat().st_size
    assert found["compressed_bytes"] == len(zlib.compress(file.read_bytes(), level=6))
    assert found["parameters"] == sum(tensor.numel() for tensor in tensors.values())
    assert found["nonzero_parameters"] == sum(int((tensor != 0).sum()) for tensor in tensors.values())

    model = student_of(teacher, 1) if method == "distillation" else copy.deepcopy(teacher)
    if method == "int8":
        quantise(model)
    model.load_state_dict(tensors)
    tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
    nats = []
    for number in range(10):
        with torch.inference_mode():
            logits = model(**tokenizer(text(number), return_tensors="pt")).logits[0]
        nats.append(-logits.log_softmax(0)[number % 2].item())
    assert found["loss"] == pytest.approx(sum(nats) / 10, rel=1e-4)


def test_validation_is_told_and_chooses_the_student(
    compress: Compress, events: Callable[..., list[dict[str, Any]]]
) -> None:
    compress(method="distillation", layers=1, validation=True, epochs=4, select_best_on="loss", learning_rate=0.05)
    told = [event for event in events("metric") if event["split"] == "validation"]
    names = ["accuracy", "macro_precision", "macro_recall", "macro_f1", "loss"]
    assert [event["name"] for event in told] == names * 5
    losses = {event["step"]: event["value"] for event in told if "step" in event and event["name"] == "loss"}
    assert list(losses) == [2, 4, 6, 8]  # 12 examples are left to train on
    assert told[-1]["value"] == min(losses.values())
    best = min(losses, key=lambda step: losses[step])
    assert any(event["text"] == f"the weights are those after step {best}" for event in events("note"))


def named(folder: Path, source: Path, names: list[str]) -> Path:
    """Copy a checkpoint, its outputs called so."""
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((source / "config.json").read_text())
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: place for place, name in enumerate(names)}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_the_outputs_have_the_order_of_the_teachers_configuration(
    compress: Compress, teacher_folder: Path, tmp_path: Path
) -> None:
    eleven = [f"c{number}" for number in range(11)]  # 10 comes after 9, not after 1
    assert labels_of(named(tmp_path / "a", teacher_folder, ["good", "bad"]), ["bad", "good"]) == ["good", "bad"]
    assert labels_of(named(tmp_path / "b", teacher_folder, ["LABEL_0", "LABEL_1"]), ["bad", "good"]) == ["bad", "good"]
    assert labels_of(named(tmp_path / "c", teacher_folder, eleven), sorted(eleven)) == eleven
    with pytest.raises(TaskError, match=r"the teacher tells no, yes apart, splits\.train bad, good"):
        labels_of(named(tmp_path / "d", teacher_folder, ["no", "yes"]), ["bad", "good"])

    sorted_ = compress(method="int8")
    predicted = (tmp_path / "out" / "predictions.tsv").read_text()
    turned = tmp_path / "a"
    state = load_file(turned / "model.safetensors")
    state |= {name: state[name].flip(0) for name in ("classifier.weight", "classifier.bias")}
    save_file(state, turned / "model.safetensors", metadata={"format": "pt"})
    found = compress(turned, method="int8")
    assert (tmp_path / "out" / "predictions.tsv").read_text() == predicted
    assert found["teacher_accuracy"] == sorted_["teacher_accuracy"]
    assert found["loss"] == pytest.approx(sorted_["loss"], rel=1e-6)


def test_a_teacher_without_a_configuration_is_refused(compress: Compress, teacher_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((teacher_folder / "model.safetensors").read_bytes())
    for content in (None, "{}", "no json"):
        if content is not None:
            (folder / "config.json").write_text(content)
        with pytest.raises(TaskError, match=r"bare: .*Check that the artifacts of kind weights are all there"):
            compress(folder, method="int8")


def test_a_teacher_without_a_head_is_refused(compress: Compress, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="holds no classification head"):
        compress(checkpoint, method="int8")
    with pytest.raises(TaskError, match="is not there"):
        compress(tmp_path, method="int8")
