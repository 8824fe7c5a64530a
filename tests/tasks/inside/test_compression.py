"""Distillation, integers and pruning on a tiny random teacher, and each of their parts against a value worked out."""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForSequenceClassification

from repro_tui.tasks import compression
from repro_tui.tasks.common.int8 import WEIGHT_LEVELS, Int8Linear, quantise
from repro_tui.tasks.common.job import TaskError, load
from repro_tui.tasks.common.shrinking import distillation_loss, pruned, student_of

LABELS = ("bad", "good")
Compress = Callable[..., dict[str, Any]]


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

    def run(model: Path = teacher_folder, **settings: Any) -> dict[str, Any]:
        splits = {}
        for name, count in (("train", 24), ("test", 10)):
            file = tmp_path / f"{name}.tsv"
            file.write_text("".join(f"w{n} w{n * 7 % 60} {LABELS[n % 2]}\t{LABELS[n % 2]}\n" for n in range(count)))
            splits[name] = {
                "path": str(file), "format": "tsv", "text": 0, "label": 1, "text_pair": None, "first": None,
                "examples": count,
            }  # fmt: skip
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        values = {"epochs": 1, "train_batch_size": 8, "max_length": 16, "learning_rate": 1e-3, **settings}
        body = {
            "model": str(model), "seed": 3, "level": "metric", "threads": 1, "splits": splits, "out": str(out),
            "hyperparameters": asdict(compression.Settings(**values)),
        }  # fmt: skip
        (tmp_path / "job.json").write_text(json.dumps(body))
        compression.main(load(tmp_path / "job.json"))
        found = {event["name"]: event["value"] for event in events("metric")}
        assert set(found) == set(compression.METRICS)
        assert [event["name"] for event in events("output")] == list(compression.OUTPUTS)
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


def test_a_teacher_without_a_head_is_refused(compress: Compress, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="holds no classification head"):
        compress(checkpoint, method="int8")
    with pytest.raises(TaskError, match="is not there"):
        compress(tmp_path, method="int8")
