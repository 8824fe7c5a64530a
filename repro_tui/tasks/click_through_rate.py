"""Predict a binary event (a click, a like, an income) from a table of categories and numbers.

DeepFM (Guo et al. 2017, arXiv:1703.04247) or Wide & Deep (Cheng et al. 2016, arXiv:1606.07792), both parts trained by
one optimizer, where the latter's paper has FTRL for the wide and AdaGrad for the deep one. Run as
`python3 -m repro_tui.tasks.click_through_rate`; docs/tasks/click_through_rate.md documents it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Lt
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from repro_tui import wire
from repro_tui.tasks.common import clicks, emit, loop, start, tables
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train", "test")
FORMATS = ("csv", "tsv", "parquet")
CHECKPOINT = "none"
METRICS = ("auc", "loss", "accuracy")
OUTPUTS = ("weights", "features", "predictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(loop.Settings):
    """Hyperparameters of the task besides the loop's."""

    architecture: Literal["deepfm", "wide-and-deep"] = "deepfm"
    """DeepFM (arXiv:1703.04247), or Wide & Deep (arXiv:1606.07792)."""
    positive: str | None = None
    """The label that is the event; every other one is not. This or `positive_from`."""
    positive_from: float | None = None
    """Labels are numbers, and the event is one of at least this."""
    categorical: tuple[str, ...] = ()
    """Columns whose values are categories, each with an embedding of its own."""
    numerical: tuple[str, ...] = ()
    """Columns whose values are numbers, standardised by the training split."""
    crosses: tuple[str, ...] = ()
    """Cross-product features of the wide part: columns with `*` between them, like "education*occupation"."""
    min_count: Annotated[int, Ge(1)] = 1
    """A category seen less often in the training split counts as unknown."""
    embedding_size: Annotated[int, Ge(1)] = 10
    """Values of an embedding."""
    hidden_sizes: tuple[int, ...] = (400, 400, 400)
    """Units of the deep part's layers, from the input on."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Dropout probability after each layer of the deep part."""


@dataclass(frozen=True, slots=True)
class Split:
    """A split as the model takes it: tensors of N rows by name, and what happened (N,)."""

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor

    def batch(self, indices: Batch) -> dict[str, torch.Tensor]:
        """Return the rows of a batch."""
        return {name: tensor[indices] for name, tensor in self.inputs.items()}


def main(job: Job) -> None:
    """Read, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    read = load(job, settings)
    frame = read["train"].frame
    features = tables.Features.fit(frame, settings.categorical, settings.numerical, min_count=settings.min_count)
    crosses = None
    shape: dict[str, Any] = {"k": settings.embedding_size, "hidden": settings.hidden_sizes, "dropout": settings.dropout}
    model: nn.Module
    if settings.architecture == "deepfm":
        model = clicks.DeepFM(features.sizes, len(settings.numerical), **shape)
    else:
        crossed = tables.with_crosses(frame, settings.crosses)
        crosses = tables.Features.fit(crossed, settings.crosses, min_count=settings.min_count)
        model = clicks.WideAndDeep(features.sizes, len(settings.numerical), crosses.sizes, **shape)
    splits = {name: encode(table, features, crosses) for name, table in read.items()}
    train, test = splits["train"], splits["test"]
    model.to(device)

    def evaluate(split: Split) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the probabilities (N,) and the metrics on a split."""
        logits = torch.empty(len(split.labels))
        order = evaluation_batches([1] * len(split.labels), settings.eval_batch_size)
        for batch, output in loop.predict(model, order, split.batch, precision=settings.precision):
            logits[batch] = output.float().cpu()
        probabilities = logits.double().sigmoid()
        return probabilities, scores(split.labels, probabilities)

    def validate(step: int) -> Mapping[str, float]:
        values = evaluate(splits["validation"])[1]
        emit.metrics(values, split="validation", step=step)
        return values

    emit.phase("train")
    checkpoint = loop.train(
        model,
        settings,
        batches=lambda epoch: training_batches(
            [1] * len(train.labels), settings.train_batch_size, seed=job.data_seed, epoch=epoch, grouped=False
        ),
        collate=lambda batch: {**train.batch(batch), "labels": train.labels[batch]},
        loss=lambda model, inputs: binary_cross_entropy_with_logits(
            model(**{name: inputs[name] for name in train.inputs}), inputs["labels"]
        ),
        evaluate=validate if "validation" in splits else None,
    )
    emit.weights(model, job.out)
    path = job.out / "features.json"
    body = {"features": features.body(), "crosses": {} if crosses is None else crosses.body()}
    path.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    emit.output("features", path, job.out)

    emit.phase("evaluate")
    if checkpoint is not None:
        wire.emit("note", text=f"the weights are those after step {checkpoint.step}")
        emit.metrics(checkpoint.metrics, split="validation")
    probabilities, values = evaluate(test)
    emit.metrics(values, split="test")
    constant = scores(test.labels, train.labels.double().mean().expand(len(test.labels)))
    emit.table(
        "baseline",
        ("prediction", *METRICS),
        [("the model's", *values.values()), ("the training split's rate", *constant.values())],
    )
    rows = zip(test.labels.int().tolist(), probabilities.tolist(), strict=True)
    emit.predictions(("example", "label", "probability"), ((i, *row) for i, row in enumerate(rows)), job.out)


def load(job: Job, settings: Settings) -> dict[str, tables.Table]:
    """Return the tables of the splits with the columns that are features; raises TaskError for what cannot be used."""
    columns = [*settings.categorical, *settings.numerical]
    columns += [name for cross in settings.crosses for name in cross.split(tables.CROSS)]
    if not columns:
        raise TaskError("hyperparameters: there are no features", "Name columns in `categorical` or `numerical`")
    if settings.crosses and settings.architecture == "deepfm":
        raise TaskError("hyperparameters.crosses: DeepFM has no wide part", "Leave them out: it crosses all features")
    rule = tables.binary(settings.positive, settings.positive_from)
    splits = tables.load(job.splits, list(dict.fromkeys(columns)), classify=rule)
    for name in ("train", "test"):
        if name not in splits:
            raise TaskError(f"there is no split {name!r}", "click_through_rate needs the splits train and test")
    for name, table in splits.items():
        if len(set(table.classes)) < 2:
            raise TaskError(
                f"splits.{name}: the event is in {'all' if '1' in table.classes else 'none'} of its examples",
                "Check `label`, `positive` and `positive_from`",
            )
    return splits


def encode(table: tables.Table, features: tables.Features, crosses: tables.Features | None) -> Split:
    """Return a split's rows as tensors: categories (N, C), numbers (N, M), crosses (N, X)."""
    inputs = {"categories": features.categories(table.frame), "numbers": features.numbers(table.frame)}
    if crosses is not None:
        crossed = tables.with_crosses(table.frame, list(crosses.vocabularies))
        inputs["crosses"] = crosses.categories(crossed)
    return Split(inputs, torch.tensor([float(label) for label in table.classes]))


def scores(labels: torch.Tensor, probabilities: torch.Tensor) -> dict[str, float]:
    """Return area under the ROC curve, log loss in nats and accuracy at 0.5 of probabilities (N,) for labels (N,)."""
    truth, given = labels.int().numpy(), probabilities.numpy()
    return {
        "auc": float(roc_auc_score(truth, given)),
        "loss": float(log_loss(truth, given, labels=[0, 1])),
        "accuracy": float(accuracy_score(truth, given >= 0.5)),
    }


if __name__ == "__main__":
    sys.exit(run(main))
