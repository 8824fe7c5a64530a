"""Fine-tune an encoder checkpoint with a new classification head, and evaluate it once on the test split.

Devlin et al. 2019, "BERT" (arXiv:1810.04805), section 4: the checkpoint's own pooled representation and one linear
layer, all weights trained. Run as `python3 -m repro_tui.tasks.text_classification`; docs/tasks.md documents the job.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Lt
from datasets import Dataset
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification

from repro_tui import wire
from repro_tui.tasks.common import data, emit, encoders, loop, metrics, start
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train", "test")
FORMATS = ("tsv", "csv", "jsonl", "orange-tab")
CHECKPOINT = "needed"
METRICS = ("accuracy", "{averaging}_precision", "{averaging}_recall", "{averaging}_f1", "loss")
OUTPUTS = ("weights", "predictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(loop.Settings):
    """The hyperparameters of the task besides the loop's."""

    max_length: Annotated[int, Ge(2)] = 128
    """Longer inputs are cut to so many tokens."""
    length_grouping: bool = True
    """Batch inputs of similar length together, which saves padding."""
    dropout: Annotated[float, Ge(0), Lt(1)] | None = None
    """Dropout probability everywhere in the model. The checkpoint's own without it."""
    from_scratch: bool = False
    """Draw all weights anew, as the checkpoint's configuration says: the baseline without pretraining."""
    averaging: Literal["macro", "binary"] = "macro"
    """Precision, recall and F1: the mean over all classes, or those of the second of two classes."""


@dataclass(frozen=True, slots=True)
class Split:
    """A split as the model takes it."""

    encoded: list[dict[str, list[int]]]
    """Token ids and masks of each example (N), unpadded."""
    labels: list[int]
    """Class numbers (N,)."""
    lengths: list[int]
    """In tokens (N,)."""


def main(job: Job) -> None:
    """Read, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    datasets = data.load_splits(job.splits)
    for name in ("train", "test"):
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
    splits = {name: encode(name, dataset, labels, tokenizer, settings.max_length) for name, dataset in datasets.items()}
    model.to(device)

    def collate(split: Split, batch: Batch) -> dict[str, torch.Tensor]:
        """Pad a batch to its longest member; returns tensors (B, T) and the labels (B,)."""
        padded = encoders.pad(tokenizer, [split.encoded[i] for i in batch], settings.precision)
        return {**padded, "labels": torch.tensor([split.labels[i] for i in batch])}

    def evaluate(split: Split) -> tuple[list[int], metrics.Classification, float]:
        """Return the predicted classes (N,), the metrics and the mean loss on a split."""
        logits = torch.empty(len(split.labels), len(labels))
        for batch, output in loop.predict(
            model,
            evaluation_batches(split.lengths, settings.eval_batch_size),
            lambda batch: collate(split, batch),
            precision=settings.precision,
        ):
            logits[batch] = output.logits.float().cpu()
        loss = cross_entropy(logits, torch.tensor(split.labels)).item()
        predicted = logits.argmax(dim=-1).tolist()
        found = metrics.classification(split.labels, predicted, labels, averaging=settings.averaging)
        return predicted, found, loss

    def validate(step: int) -> Mapping[str, float]:
        _, found, loss = evaluate(splits["validation"])
        values = {**found.values, "loss": loss}
        emit.metrics(values, split="validation", step=step)
        return values

    emit.phase("train")
    train = splits["train"]
    checkpoint = loop.train(
        model,
        settings,
        batches=lambda epoch: training_batches(
            train.lengths,
            settings.train_batch_size,
            seed=job.data_seed,
            epoch=epoch,
            grouped=settings.length_grouping,
        ),
        collate=lambda batch: collate(train, batch),
        loss=lambda model, inputs: model(**inputs).loss,
        evaluate=validate if "validation" in splits else None,
    )
    emit.weights(model, job.out)

    emit.phase("evaluate")
    if checkpoint is not None:
        wire.emit("note", text=f"the weights are those after step {checkpoint.step}")
        emit.metrics(checkpoint.metrics, split="validation")
    test = splits["test"]
    predicted, found, loss = evaluate(test)
    emit.metrics({**found.values, "loss": loss}, split="test")
    emit.table("per_class", *found.per_class)
    emit.table("confusion_matrix", *found.confusion)
    rows = ((i, labels[test.labels[i]], labels[number]) for i, number in enumerate(predicted))
    emit.predictions(("example", "label", "predicted"), rows, job.out)


def encode(name: str, dataset: Dataset, labels: list[str], tokenizer: Any, max_length: int) -> Split:
    """Tokenise a split once; raises TaskError for a label that the training split does not have."""
    numbers = data.label_numbers(name, dataset, labels)
    pairs = dataset["text_pair"] if "text_pair" in dataset.column_names else None
    encoded = encoders.tokenise(tokenizer, dataset["text"], pairs, max_length=max_length)
    return Split(encoded, numbers, [len(example["input_ids"]) for example in encoded])


if __name__ == "__main__":
    sys.exit(run(main))
