"""The task on a tiny random encoder and a table of four columns."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModel, AutoTokenizer

from repro_tui.tasks import text_and_table
from repro_tui.tasks.common import job as task
from repro_tui.tasks.common import tables
from repro_tui.tasks.common.job import TaskError
from repro_tui.tasks.text_and_table import Fused, Settings

HYPERPARAMETERS: dict[str, Any] = {
    "learning_rate": 0.01, "epochs": 3, "max_steps": None, "train_batch_size": 8, "gradient_accumulation_steps": 1,
    "eval_batch_size": 16, "optimizer": "adamw", "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8,
    "momentum": 0.9, "weight_decay": 0.0, "schedule": "linear", "warmup_ratio": 0.1, "max_grad_norm": 1.0,
    "precision": "fp32", "select_best_on": None, "evaluate_every": None, "inputs": "both", "categorical": ["shop"],
    "numerical": ["age"], "embedding_size": 4, "hidden_size": 8, "pooling": "mean", "max_length": 8,
    "length_grouping": True, "dropout": 0.0, "averaging": "binary",
}  # fmt: skip

Events = Callable[..., list[dict[str, Any]]]
Start = Callable[..., tuple[int, Path]]


def rows(count: int) -> pd.DataFrame:
    """Return rows whose label is 1 where the text is good and the shop is not "c": neither tells it alone."""
    texts = [("good" if n % 4 < 2 else "bad") + f" w{n % 7}" for n in range(count)]
    shops = ["abc"[n % 3] for n in range(count)]
    labels = [int("good" in text and shop != "c") for text, shop in zip(texts, shops, strict=True)]
    return pd.DataFrame({"review": texts, "shop": shops, "age": [20 + n % 5 for n in range(count)], "liked": labels})


@pytest.fixture
def start(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return a function that runs the task, on 60 rows and 20, and gives its exit code and its folder."""
    rows(60).to_csv(tmp_path / "train.csv", index=False)
    rows(20).to_parquet(tmp_path / "test.parquet")
    columns = {"text": "review", "label": "liked"}

    def start_one(
        splits: dict[str, Any] | None = None, *, model: bool = True, train: dict[str, Any] | None = None, **changed: Any
    ) -> tuple[int, Path]:
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        out.mkdir()
        body = {
            "model": str(checkpoint) if model else None, "seed": 1, "level": "bitwise", "threads": 1, "out": str(out),
            "hyperparameters": HYPERPARAMETERS | changed,
            "splits": splits or {
                "train": {"path": str(tmp_path / "train.csv"), "format": "csv", "examples": 60, **columns, **(train or {})},
                "test": {"path": str(tmp_path / "test.parquet"), "format": "parquet", **columns},
            },
        }  # fmt: skip
        (out / "job.json").write_text(json.dumps(body))
        monkeypatch.setenv("REPRO_JOB", str(out / "job.json"))
        return task.run(text_and_table.main), out

    return start_one


def test_both_know_what_neither_knows_alone_and_runs_repeat_to_the_bit(start: Start, events: Events) -> None:
    outs = []
    for inputs in ("both", "both", "text", "table"):
        code, out = start(epochs=8, inputs=inputs)
        assert code == 0
        outs.append(out)
    for name in ("model.safetensors", "features.json", "predictions.tsv"):
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes()
    accuracy = [event["value"] for event in events("metric") if event["name"] == "accuracy"]
    assert accuracy[0] == accuracy[1] == 1
    assert max(accuracy[2:]) < 0.9
    names = [event["name"] for event in events("metric")][:6]
    assert names == ["accuracy", "binary_precision", "binary_recall", "binary_f1", "auc", "loss"]
    assert (outs[0] / "predictions.tsv").read_text().splitlines()[:2] == ["example\tlabel\tpredicted", "0\t1\t1"]
    features = json.loads((outs[0] / "features.json").read_text())
    assert features["vocabularies"] == {"shop": ["a", "b", "c"]}
    assert features["means"] == {"age": 22.0}
    assert json.loads((outs[2] / "features.json").read_text())["vocabularies"] == {}


def test_the_metrics_are_those_of_the_written_weights(start: Start, checkpoint: Path, events: Events) -> None:
    code, out = start(epochs=1)
    assert code == 0
    found = {event["name"]: event["value"] for event in events("metric")}
    body = json.loads((out / "features.json").read_text())
    encoder = AutoModel.from_config(AutoConfig.from_pretrained(checkpoint))
    model = Fused(encoder, [4], 1, 2, Settings(embedding_size=4, hidden_size=8)).eval()
    model.load_state_dict(load_file(out / "model.safetensors"))
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    labels, scores, nats = [], [], []
    for row in rows(20).to_dict("records"):
        category = torch.tensor([[1 + body["vocabularies"]["shop"].index(row["shop"])]])
        number = torch.tensor([[(row["age"] - body["means"]["age"]) / body["deviations"]["age"]]])
        labels.append(row["liked"])
        with torch.inference_mode():
            tokens = tokenizer(row["review"], return_tensors="pt")
            logits = model(category, number, torch.tensor([row["liked"]]), **tokens).logits[0]
        scores.append((logits[1] - logits[0]).item())
        nats.append(-logits.log_softmax(0)[row["liked"]].item())
    lines = [line.split("\t") for line in (out / "predictions.tsv").read_text().splitlines()[1:]]
    assert [int(predicted) for _, _, predicted in lines] == [int(score > 0) for score in scores]
    assert found["accuracy"] == pytest.approx(sum(label == predicted for _, label, predicted in lines) / 20)
    assert found["loss"] == pytest.approx(sum(nats) / 20, rel=1e-5)
    likes, others = ([s for s, label in zip(scores, labels, strict=True) if label == which] for which in (1, 0))
    ordered = sum((like > other) + 0.5 * (like == other) for like in likes for other in others)
    assert found["auc"] == pytest.approx(ordered / (len(likes) * len(others)))
    assert 0 < found["auc"] < 1


def test_a_table_alone_needs_no_checkpoint(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(model=False, inputs="table", epochs=1)[0] == 0
    assert start(model=False)[0] == 1
    assert "Set task.model" in capsys.readouterr().err


def test_more_than_two_classes_and_a_validation_split(start: Start, tmp_path: Path, events: Events) -> None:
    columns = {"path": str(tmp_path / "train.csv"), "format": "csv", "text": "review", "label": "shop"}
    splits = {
        "train": {**columns, "classes": {"a": 20, "b": 20, "c": 20}},
        "validation": {"part_of": "train", "fraction": 0.2, "seed": 1, "stratified": True, "examples": 12},
        "test": {"part_of": "train", "fraction": 0.2, "seed": 2, "stratified": True},
    }
    code, _ = start(splits, categorical=["liked"], averaging="macro", pooling="first", select_best_on="loss")
    assert code == 0
    final = [event for event in events("metric") if "step" not in event and event["split"] == "validation"]
    tried = [event["value"] for event in events("metric") if "step" in event and event["name"] == "loss"]
    assert "auc" not in {event["name"] for event in final}
    assert [event["value"] for event in final if event["name"] == "loss"] == [min(tried)]


def test_the_model_is_a_concatenation_and_one_hidden_layer(checkpoint: Path) -> None:
    torch.manual_seed(0)
    encoder = AutoModel.from_pretrained(checkpoint).eval()
    settings = Settings(embedding_size=4, hidden_size=8)
    model = Fused(encoder, [3, 5], 2, 3, settings).eval()
    head = [p for name, p in model.named_parameters() if not name.startswith("encoder.")]
    assert sum(p.numel() for p in head) == 3 * 4 + 5 * 4 + (4 + 4 + 2 + 16) * 8 + 8 + 8 * 3 + 3

    assert not model.embeddings[1].weight[0].any()  # what training does not have is the zero vector

    tokens = {"input_ids": torch.tensor([[2, 9, 3, 0], [2, 9, 10, 3]])}
    tokens["attention_mask"] = (tokens["input_ids"] != 0).long()
    categories, numbers = torch.tensor([[1, 0], [2, 4]]), torch.tensor([[0.5, -1.0], [0.0, 2.0]])
    labels = torch.tensor([0, 2])
    with torch.inference_mode():
        output = model(categories, numbers, labels, **tokens)
        states = encoder(**tokens).last_hidden_state
        expected = []
        for row, length in enumerate((3, 4)):  # what is padded does not count
            vector = torch.cat([
                model.embeddings[0].weight[categories[row, 0]], model.embeddings[1].weight[categories[row, 1]],
                numbers[row], states[row, :length].mean(dim=0),
            ])  # fmt: skip
            hidden = (model.hidden.weight @ vector + model.hidden.bias).clamp(min=0)
            expected.append(model.head.weight @ hidden + model.head.bias)
    assert torch.allclose(output.logits, torch.stack(expected), atol=1e-6)
    assert output.loss.item() == pytest.approx(cross_entropy(torch.stack(expected), labels).item(), rel=1e-5)


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order() -> None:
    truth, scores = [0, 1, 1, 0, 1], [0.1, 0.9, 0.3, 0.3, 0.2]
    pairs = [
        (p, n) for p, t in zip(scores, truth, strict=True) if t for n, f in zip(scores, truth, strict=True) if not f
    ]
    ordered = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)
    assert roc_auc_score(truth, scores) == pytest.approx(ordered)


def test_rows_without_text_are_left_out_before_anything_is_counted(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"review": ["a", None, " ", "b", "a"], "n": [1, 2, 3, 4, 1], "liked": [1, 0, 1, 0, 1]}
    ).convert_dtypes()
    frame.to_parquet(tmp_path / "f.parquet")
    spec = {"path": str(tmp_path / "f.parquet"), "format": "parquet", "text": "review", "label": "liked"}
    train = tables.load({"train": {**spec, "clean": ["strip", "drop-empty"], "classes": {"0": 1, "1": 2}}}, ["n"])[
        "train"
    ]
    assert tables.texts(train.frame["n"]) == ["1", "4", "1"]
    once = tables.load({"train": {**spec, "clean": ["strip", "drop-empty", "drop-duplicates"]}}, ["n", "review"])
    assert once["train"].classes == ["1", "0"]
    with pytest.raises(TaskError, match=r"splits\.train: `clean` finds no column 'body'"):
        tables.load({"train": {**spec, "text": "body", "clean": ["strip"]}}, ["n"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"categorical": [], "numerical": []}, 'inputs = "both" needs columns'),
        ({"categorical": ["colour"]}, "has no column 'colour'"),
        ({"categorical": ["liked"]}, "the feature 'liked' is the label of splits.train"),
        ({"numerical": ["shop"]}, "the column 'shop' has 'a' in row 0, which is no number"),
        ({"train": {"examples": 61}}, "splits.train has 60 examples, 61 are pinned"),
        ({"train": {"label": "shop"}, "categorical": []}, 'averaging = "binary" needs two'),
        (
            {"train": {"label": "age"}, "numerical": [], "averaging": "macro"},
            "splits.test has the label '0', which no training example has",
        ),
        ({"train": {"text": "liked"}}, "the splits call the text 'liked', 'review'"),
        ({"max_length": 64}, "max_length is 64, the model takes 32 tokens"),
    ],
)
def test_what_a_user_can_put_right_is_named(
    start: Start, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], words: str
) -> None:
    assert start(**changed)[0] == 1
    assert words in capsys.readouterr().err


def test_a_missing_split_is_named(start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {"path": str(tmp_path / "train.csv"), "format": "csv", "text": "review", "label": "liked"}
    assert start({"train": spec})[0] == 1
    assert "there is no split 'test'" in capsys.readouterr().err
