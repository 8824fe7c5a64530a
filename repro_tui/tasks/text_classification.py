"""Fine-tune an encoder checkpoint with a new classification head, and evaluate it once on the test split.

Devlin et al. 2019, "BERT" (arXiv:1810.04805), section 4: the checkpoint's own pooled representation and one linear
layer, all weights trained. Run as `python3 -m repro_tui.tasks.text_classification`;
docs/tasks/text_classification.md documents it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification

from repro_tui.tasks.common import data, emit, encoders, metrics, sequences, start
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train", "test")
FORMATS = ("tsv", "csv", "jsonl", "orange-tab")
CHECKPOINT = "needed"
METRICS = ("accuracy", "{averaging}_precision", "{averaging}_recall", "{averaging}_f1", "loss")
OUTPUTS = ("weights", "predictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(sequences.Settings):
    """Hyperparameters of the task besides those of its kind."""

    averaging: Literal["macro", "binary"] = "macro"
    """Precision, recall and F1: the mean over all classes, or those of the second of two classes."""


def main(job: Job) -> None:
    """Read, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    datasets = data.load_splits(job.splits)
    for name in SPLITS:
        if name not in datasets:
            raise TaskError(f"there is no split {name!r}", "text_classification needs the splits train and test")
    labels = data.label_set(datasets["train"])
    if settings.averaging == "binary" and len(labels) != 2:
        raise TaskError(f'averaging = "binary" needs two classes, train has {len(labels)}', 'Use "macro"')
    tokenizer, model = encoders.load(
        job,
        AutoModelForSequenceClassification,
        settings,
        from_scratch=settings.from_scratch,
        **encoders.named(labels),
    )
    splits = {
        name: sequences.encode(
            dataset, torch.tensor(data.label_numbers(name, dataset, labels)), tokenizer, settings.max_length
        )
        for name, dataset in datasets.items()
    }
    model.to(device)

    def score(classes: torch.Tensor, logits: torch.Tensor) -> dict[str, float]:
        """Return the metrics of class numbers (N,) and logits (N, C); the loss is the mean cross entropy in nats."""
        return {**classification(classes, logits).values, "loss": cross_entropy(logits, classes).item()}

    def classification(classes: torch.Tensor, logits: torch.Tensor) -> metrics.Classification:
        return metrics.classification(
            classes.tolist(), logits.argmax(dim=-1).tolist(), labels, averaging=settings.averaging
        )

    sequences.fine_tune(model, tokenizer, splits, settings, score, data_seed=job.data_seed, out=job.out)

    emit.phase("evaluate")
    test = splits["test"]
    logits = sequences.predict(model, tokenizer, test, settings)
    emit.metrics(score(test.targets, logits), split="test")
    found = classification(test.targets, logits)
    emit.table("per_class", *found.per_class)
    emit.table("confusion_matrix", *found.confusion)
    pairs = zip(test.targets.tolist(), logits.argmax(dim=-1).tolist(), strict=True)
    rows = ((i, labels[true], labels[predicted]) for i, (true, predicted) in enumerate(pairs))
    emit.predictions(("example", "label", "predicted"), rows, job.out)


if __name__ == "__main__":
    sys.exit(run(main))
