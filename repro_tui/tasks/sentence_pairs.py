"""Fine-tune an encoder checkpoint on pairs of texts: which class they make, or how similar they are.

Devlin et al. 2019, "BERT" (arXiv:1810.04805), section 4.1: both texts in one input, the checkpoint's own pooled
representation, one linear layer, all weights trained; for similarities (STS-B in the paper's table 1) the layer has one
output and the loss is the mean squared error. Run as `python3 -m repro_tui.tasks.sentence_pairs`;
docs/tasks/sentence_pairs.md documents it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from datasets import Dataset
from torch.nn.functional import cross_entropy, mse_loss
from torchmetrics.functional.regression import pearson_corrcoef, spearman_corrcoef
from transformers import AutoModelForSequenceClassification

from repro_tui.tasks.common import data, emit, encoders, entailment, metrics, sequences, start
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train", "test")
FORMATS = ("tsv", "csv", "jsonl", "squad")
CHECKPOINT = "needed"
METRICS = (
    "accuracy", "{averaging}_precision", "{averaging}_recall", "{averaging}_f1", "pearson", "spearman", "loss",
)  # fmt: skip
OUTPUTS = ("weights", "predictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(sequences.Settings):
    """Hyperparameters of the task besides those of its kind."""

    objective: Literal["classification", "regression"] = "classification"
    """Whether the label is a class (paraphrase, entailment) or a number (similarity)."""
    averaging: Literal["macro", "binary"] = "macro"
    """Precision, recall and F1 of classes: the mean over all, or those of the second of two."""
    score_scale: Annotated[float, Gt(0)] = 1.0
    """Numbers are divided by it for the model: the highest one that occurs brings them between 0 and 1."""


def main(job: Job) -> None:
    """Read, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    datasets = load_splits(job)
    labels = data.label_set(datasets["train"]) if settings.objective == "classification" else []
    if labels and settings.averaging == "binary" and len(labels) != 2:
        raise TaskError(f'averaging = "binary" needs two classes, train has {len(labels)}', 'Use "macro"')
    head = encoders.named(labels) if labels else {"num_labels": 1, "problem_type": "regression"}
    tokenizer, model = encoders.load(
        job, AutoModelForSequenceClassification, settings, from_scratch=settings.from_scratch, **head
    )
    splits = {}
    for name, dataset in datasets.items():
        targets = (
            torch.tensor(data.label_numbers(name, dataset, labels))
            if labels
            else torch.tensor(numbers(name, dataset)) / settings.score_scale
        )
        splits[name] = sequences.encode(dataset, targets, tokenizer, settings.max_length)
    model.to(device)

    def score(targets: torch.Tensor, outputs: torch.Tensor) -> Mapping[str, float]:
        """Return the metrics of targets (N,) and outputs (N, C)."""
        if not labels:
            return similarity(targets, outputs[:, 0])
        return {**classes(targets, outputs).values, "loss": cross_entropy(outputs, targets).item()}

    def classes(targets: torch.Tensor, logits: torch.Tensor) -> metrics.Classification:
        predicted = logits.argmax(dim=-1).tolist()
        return metrics.classification(targets.tolist(), predicted, labels, averaging=settings.averaging)

    sequences.fine_tune(model, tokenizer, splits, settings, score, data_seed=job.data_seed, out=job.out)

    emit.phase("evaluate")
    outputs = sequences.predict(model, tokenizer, splits["test"], settings)
    emit.metrics(score(splits["test"].targets, outputs), split="test")
    if labels:
        found = classes(splits["test"].targets, outputs)
        emit.table("per_class", *found.per_class)
        emit.table("confusion_matrix", *found.confusion)
        predicted = [labels[number] for number in outputs.argmax(dim=-1).tolist()]
    else:
        predicted = [f"{value:.9g}" for value in (outputs[:, 0] * settings.score_scale).tolist()]
    rows = zip(range(len(predicted)), datasets["test"]["label"], predicted, strict=True)
    emit.predictions(("example", "label", "predicted"), rows, job.out)


def load_splits(job: Job) -> dict[str, Dataset]:
    """Return the splits as rows of pairs; raises TaskError for a missing split and for texts without a partner."""
    formats = {spec["format"] for spec in job.splits.values() if spec.get("part_of") is None}
    if "squad" in formats and len(formats) > 1:
        raise TaskError(f"the splits have the formats {', '.join(sorted(formats))}", "squad stands for all or none")
    datasets = entailment.load_splits(job.splits) if "squad" in formats else data.load_splits(job.splits)
    for name in SPLITS:
        if name not in datasets:
            raise TaskError(f"there is no split {name!r}", "sentence_pairs needs the splits train and test")
    for name, dataset in datasets.items():
        if "text_pair" not in dataset.column_names:
            raise TaskError(f"splits.{name} has no second text", "Name its column in `text_pair`")
    return datasets


def numbers(name: str, dataset: Dataset) -> list[float]:
    """Return the labels as numbers (N,); raises TaskError for one that is none."""
    values = []
    for row, label in enumerate(dataset["label"]):
        try:
            values.append(float(label))
        except ValueError:
            values.append(math.nan)
        if not math.isfinite(values[-1]):
            raise TaskError(
                f"splits.{name} has the label {label!r} in example {row}, which is no number",
                'Check `label`, or use objective = "classification"',
            )
    return values


def similarity(targets: torch.Tensor, predicted: torch.Tensor) -> dict[str, float]:
    """Return both correlations, and the mean squared error as "loss", of scores (N,) and (N,).

    A model that predicts one number for all has the correlation 0.
    """
    constant = bool((predicted == predicted[0]).all() or (targets == targets[0]).all())
    both = predicted.double(), targets.double()
    return {
        "pearson": 0.0 if constant else pearson_corrcoef(*both).item(),
        "spearman": 0.0 if constant else spearman_corrcoef(*both).item(),
        "loss": mse_loss(predicted, targets).item(),
    }


if __name__ == "__main__":
    sys.exit(run(main))
