"""DeepFM and Wide & Deep against their equations, the metrics by hand, and the whole task on a tiny table."""

import dataclasses
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from repro_tui.tasks import click_through_rate
from repro_tui.tasks.click_through_rate import Settings, scores
from repro_tui.tasks.common import job as task
from repro_tui.tasks.common.clicks import DeepFM, WideAndDeep, second_order

SIZES, NUMBERS, CROSSES = [4, 3], 2, [5]
SHAPE: dict[str, Any] = {"k": 3, "hidden": (6, 5), "dropout": 0.0}
CATEGORIES = torch.tensor([[1, 2], [0, 1]])
VALUES = torch.tensor([[0.5, -1.0], [2.0, 0.0]])


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_second_order_term_is_the_sum_over_all_pairs() -> None:
    vectors = torch.randn(5, 7, 4, generator=torch.Generator().manual_seed(1))
    by_pairs = sum((vectors[:, i] * vectors[:, j]).sum(dim=-1) for i, j in combinations(range(7), 2))
    assert torch.allclose(second_order(vectors), torch.as_tensor(by_pairs), atol=1e-5)


def test_deepfm_has_the_parameters_of_its_definition() -> None:
    n, m, k = 4 + 3 + 2, 4, 3  # features, fields, length of an embedding
    deep = (m * k * 6 + 6) + (6 * 5 + 5) + (5 * 1 + 1)
    assert parameters(DeepFM(SIZES, NUMBERS, **SHAPE)) == n + n * k + deep


def test_wide_and_deep_has_the_parameters_of_its_definition() -> None:
    wide = 4 + 3 + 5 + 2
    deep = ((2 * 3 + 2) * 6 + 6) + (6 * 5 + 5) + (5 * 1 + 1)
    assert parameters(WideAndDeep(SIZES, NUMBERS, CROSSES, **SHAPE)) == wide + (4 + 3) * 3 + deep


def filled(model: torch.nn.Module) -> torch.nn.Module:
    """Set every weight to a number of its own."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.linspace(-0.4, 0.5, parameter.numel()).view_as(parameter))
    return model.eval()


def deep_part(model: Any, inputs: torch.Tensor) -> torch.Tensor:
    for index in (0, 3):
        inputs = torch.clamp(inputs @ model.deep[index].weight.T + model.deep[index].bias, min=0)
    result: torch.Tensor = (inputs @ model.deep[6].weight.T + model.deep[6].bias)[:, 0]
    return result


def test_deepfm_computes_its_equations() -> None:
    model: Any = filled(DeepFM(SIZES, NUMBERS, **SHAPE))
    expected = []
    for row in range(2):
        # x: one-hot fields, then the numbers; w and V have a row for each of the 9 features.
        x = torch.zeros(9)
        x[CATEGORIES[row, 0]] = x[4 + CATEGORIES[row, 1]] = 1.0
        x[7:] = VALUES[row]
        w = torch.cat([model.linear.categories.weight, model.linear.numbers])[:, 0]
        v = torch.cat([model.embeddings.categories.weight, model.embeddings.numbers])
        pairs = sum(v[i] @ v[j] * x[i] * x[j] for i, j in combinations(range(9), 2))
        fields = torch.cat([(v[:4] * x[:4, None]).sum(0), (v[4:7] * x[4:7, None]).sum(0), v[7] * x[7], v[8] * x[8]])
        expected.append((w @ x + pairs + deep_part(model, fields[None])[0]).item())
    assert model(CATEGORIES, VALUES).tolist() == pytest.approx(expected, abs=1e-5)


def test_wide_and_deep_computes_its_equation() -> None:
    model: Any = filled(WideAndDeep(SIZES, NUMBERS, CROSSES, **SHAPE))
    crosses = torch.tensor([[4], [0]])
    expected = []
    for row in range(2):
        x = torch.zeros(12)
        x[CATEGORIES[row, 0]] = x[4 + CATEGORIES[row, 1]] = x[7 + crosses[row, 0]] = 1.0
        wide = model.wide.categories.weight[:, 0] @ x + model.wide.numbers[:, 0] @ VALUES[row]
        embedded = model.embeddings.categories.weight
        inputs = torch.cat([embedded[CATEGORIES[row, 0]], embedded[4 + CATEGORIES[row, 1]], VALUES[row]])
        expected.append((wide + deep_part(model, inputs[None])[0]).item())
    assert model(CATEGORIES, VALUES, crosses).tolist() == pytest.approx(expected, abs=1e-5)


def test_an_unknown_category_adds_nothing_to_begin_with() -> None:
    model = DeepFM(SIZES, NUMBERS, **SHAPE)
    assert model.embeddings.categories.weight[[0, 4]].tolist() == [[0.0] * 3] * 2
    assert model.linear.categories.weight[1].item() != 0.0


def test_metrics_worked_out_by_hand() -> None:
    found = scores(torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([0.9, 0.6, 0.4, 0.4], dtype=torch.float64))
    # Of the four (event, other) pairs 0.9 is above 0.6 and 0.4; 0.4 is below 0.6 and ties with 0.4: 2.5 of 4.
    logs = torch.tensor([0.9, 1 - 0.6, 0.4, 1 - 0.4], dtype=torch.float64).log()
    assert found == pytest.approx({"auc": 2.5 / 4, "loss": -logs.mean().item(), "accuracy": 2 / 4})


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a function that runs the task, some hyperparameters and keys of the splits changed."""
    lines = [f"{n % 3},{n % 5},{n % 7},{'yes' if n % 3 == 0 else 'no'}" for n in range(60)]
    (tmp_path / "all.csv").write_text("\n".join(["colour,size,weight,bought", *lines]) + "\n")
    path = {"path": str(tmp_path / "all.csv"), "format": "csv", "label": "bought"}

    def run(splits: dict[str, Any] | None = None, **changed: Any) -> int:
        values = {
            "positive": "yes", "categorical": ["colour", "size"], "numerical": ["weight"], "hidden_sizes": [8],
            "learning_rate": 0.05, "epochs": 6, "train_batch_size": 10, **changed,
        }  # fmt: skip
        body = {
            "model": None, "seed": 1, "level": "bitwise", "threads": 1, "out": str(tmp_path),
            "hyperparameters": dataclasses.asdict(Settings()) | values,
            "splits": splits or {"train": path | {"skip": 20, "examples": 40}, "test": path | {"first": 20}},
        }  # fmt: skip
        (tmp_path / "job.json").write_text(json.dumps(body))
        monkeypatch.setenv("REPRO_JOB", str(tmp_path / "job.json"))
        return task.run(click_through_rate.main)

    return run


@pytest.mark.parametrize(
    "changed", [{}, {"architecture": "wide-and-deep", "crosses": ["colour*size"], "categorical": ["size"]}]
)
def test_the_task_learns_and_repeats_to_the_bit(
    start: Callable[..., int], events: Callable[..., list[dict[str, Any]]], tmp_path: Path, changed: dict[str, Any]
) -> None:
    assert start(**changed) == 0
    assert start(**changed) == 0
    values = [event for event in events("metric") if event["split"] == "test"]
    assert [event["name"] for event in values[:3]] == list(click_through_rate.METRICS)
    assert values[0]["value"] > 0.95
    outputs = [(event["name"], event["sha256"]) for event in events("output")]
    assert outputs[:3] == outputs[3:]
    assert [name for name, _ in outputs[:3]] == list(click_through_rate.OUTPUTS)
    baseline = next(event for event in events("table") if event["name"] == "baseline")["rows"][1]
    assert baseline[1] == 0.5
    assert baseline[3] == pytest.approx(13 / 20), "7 of the first 20 rows are events"
    first = (tmp_path / "predictions.tsv").read_text().splitlines()[:2]
    assert first[0] == "example\tlabel\tprobability"
    assert first[1].startswith("0\t1\t0.")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"positive": "maybe"}, "the event is in none of its examples"),
        ({"positive": None}, "Give `positive` or `positive_from`"),
        ({"categorical": [], "numerical": []}, "there are no features"),
        ({"crosses": ["colour*size"]}, "DeepFM has no wide part"),
        ({"categorical": ["price"]}, "has no column 'price'"),
        ({"categorical": ["bought"]}, "the feature 'bought' is the label of splits.train"),
        ({"numerical": ["bought"]}, "the feature 'bought' is the label of splits.train"),
        ({"architecture": "wide-and-deep", "crosses": ["size*bought"]}, "the feature 'bought' is the label"),
    ],
)
def test_what_is_wrong_is_said(
    start: Callable[..., int], capsys: pytest.CaptureFixture[str], changed: dict[str, Any], words: str
) -> None:
    assert start(**changed) == 1
    assert words in capsys.readouterr().err
