"""Make a fine-tuned classifier smaller or faster, and compare what comes out with it on the test split.

Distillation (Hinton et al. 2015, arXiv:1503.02531) and pruning by magnitude (Han et al. 2015, arXiv:1506.02626) are in
common/shrinking.py, the integers in common/int8.py. Run as `python3 -m repro_tui.tasks.compression`.
"""

from __future__ import annotations

import copy
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from datasets import Dataset
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification

from repro_tui import wire
from repro_tui.tasks.common import data, emit, encoders, int8, loop, metrics, start
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches
from repro_tui.tasks.common.job import Job, TaskError, run
from repro_tui.tasks.common.shrinking import check_head, distillation_loss, labels_of, pruned, student_of

SPLITS = ("train", "test")
FORMATS = ("tsv", "csv", "jsonl", "orange-tab")
CHECKPOINT = "needed"
METRICS = (
    "accuracy", "macro_precision", "macro_recall", "macro_f1", "loss", "teacher_accuracy", "agreement", "parameters",
    "nonzero_parameters", "bytes", "teacher_bytes", "compressed_bytes",
)  # fmt: skip
OUTPUTS = ("weights", "predictions")
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(loop.Settings):
    """Hyperparameters of the task besides the loop's, which "int8" does not use: it trains nothing."""

    method: Literal["distillation", "int8", "pruning"]
    """A student with fewer layers, linear layers in 8-bit integers, or the weights of smallest magnitude set to 0."""
    layers: Annotated[int, Ge(1)] = 3
    """Of the student in distillation: so many of the teacher's layers, evenly spaced from the first."""
    temperature: Annotated[float, Gt(0)] = 2.0
    """Distillation: what both models' logits are divided by for the soft targets."""
    soft_weight: Annotated[float, Ge(0), Le(1)] = 0.5
    """Distillation: share of the loss on soft targets; the rest is cross entropy on the labels."""
    sparsity: Annotated[float, Gt(0), Lt(1)] = 0.5
    """Pruning: share of all weights of linear layers together that become 0. The others are then trained on."""
    max_length: Annotated[int, Ge(2)] = 128
    """Longer inputs are cut to so many tokens."""
    length_grouping: bool = True
    """Batch inputs of similar length together, which saves padding."""
    dropout: Annotated[float, Ge(0), Lt(1)] | None = None
    """Dropout probability everywhere in the model. The checkpoint's own without it."""


@dataclass(frozen=True, slots=True)
class Split:
    """A split as the models take it."""

    encoded: list[encoders.Encoded]
    """Token ids and masks of each example (N), unpadded."""
    labels: torch.Tensor
    """Class numbers (N,)."""
    lengths: list[int]
    """In tokens (N,)."""


def main(job: Job) -> None:
    """Read, compress, compare; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    datasets = data.load_splits(job.splits)
    check_head(job.checkpoint / WEIGHTS)
    labels = labels_of(job.checkpoint, data.label_set(datasets["train"]))
    tokenizer, teacher = encoders.load(
        job, AutoModelForSequenceClassification, settings, new_head=False, **encoders.named(labels)
    )
    teacher.to(device)
    splits = {name: encode(name, dataset, labels, tokenizer, settings.max_length) for name, dataset in datasets.items()}
    train, test = splits["train"], splits["test"]

    def collate(split: Split, batch: Batch) -> dict[str, torch.Tensor]:
        """Pad a batch to its longest member; returns tensors (B, T)."""
        return encoders.pad(tokenizer, [split.encoded[i] for i in batch], settings.precision)

    def logits_of(model: Any, split: Split) -> torch.Tensor:
        """Return a model's logits (N, C) on a split."""
        logits = torch.empty(len(split.labels), len(labels))
        batches = evaluation_batches(split.lengths, settings.eval_batch_size)
        passes = loop.predict(model, batches, lambda batch: collate(split, batch), precision=settings.precision)
        for batch, output in passes:
            logits[batch] = output.logits.float().cpu()
        return logits

    def train_on(model: Any, targets: torch.Tensor | None) -> None:
        """Train on the labels, and on the soft `targets` (N, C) where there are some."""

        def inputs_of(batch: Batch) -> dict[str, torch.Tensor]:
            inputs = {**collate(train, batch), "labels": train.labels[batch]}
            return inputs if targets is None else {**inputs, "targets": targets[batch]}

        def loss(model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
            tensors = dict(inputs)
            truth, soft = tensors.pop("labels"), tensors.pop("targets", None)
            logits = model(**tensors).logits
            hard = cross_entropy(logits, truth)
            if soft is None:
                return hard
            softened = distillation_loss(logits, soft, settings.temperature)
            return settings.soft_weight * softened + (1 - settings.soft_weight) * hard

        def validate(step: int) -> Mapping[str, float]:
            split = splits["validation"]
            logits = logits_of(model, split)
            scores = metrics.classification(
                split.labels.tolist(), logits.argmax(dim=-1).tolist(), labels, averaging="macro"
            )
            values = {**scores.values, "loss": cross_entropy(logits, split.labels).item()}
            emit.metrics(values, split="validation", step=step)
            return values

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
            collate=inputs_of,
            loss=loss,
            evaluate=validate if "validation" in splits else None,
        )
        if checkpoint is not None:
            wire.emit("note", text=f"the weights are those after step {checkpoint.step}")
            emit.metrics(checkpoint.metrics, split="validation")

    emit.phase("train")
    if settings.method == "distillation":
        compressed = student_of(teacher, settings.layers)
        train_on(compressed, logits_of(teacher, train))
    elif settings.method == "pruning":
        compressed = copy.deepcopy(teacher)
        with pruned(compressed, settings.sparsity):
            train_on(compressed, None)
    elif device.type == "cuda":
        raise TaskError('method = "int8" runs on the CPU', "Leave resources.gpus out, or train another way")
    else:
        compressed = copy.deepcopy(teacher)
        wire.emit("note", text=f"{int8.quantise(compressed)} linear layers hold 8-bit integers")
    emit.weights(compressed, job.out)

    emit.phase("evaluate")
    seconds, found = [], []
    for model in (teacher, compressed):
        began = time.perf_counter()
        found.append(logits_of(model, test))
        seconds.append(time.perf_counter() - began)
    theirs, ours = (logits.argmax(dim=-1) for logits in found)
    scores = metrics.classification(test.labels.tolist(), ours.tolist(), labels, averaging="macro")
    comparison = {
        "loss": cross_entropy(found[1], test.labels).item(),
        "teacher_accuracy": (theirs == test.labels).double().mean().item(),
        "agreement": (theirs == ours).double().mean().item(),
    }
    emit.metrics({**scores.values, **comparison, **sizes(job, compressed)}, split="test")
    emit.table("per_class", *scores.per_class)
    rates = [(name, len(test.labels) / each) for name, each in zip(("teacher", "compressed"), seconds, strict=True)]
    emit.table("speed", ["model", "examples_per_s"], rates)
    rows = zip(
        range(len(ours)), *([labels[i] for i in numbers] for numbers in (test.labels, ours, theirs)), strict=True
    )
    emit.predictions(("example", "label", "predicted", "teacher"), rows, job.out)


def encode(name: str, dataset: Dataset, labels: list[str], tokenizer: Any, max_length: int) -> Split:
    """Tokenise a split once; raises TaskError for a label that the training split does not have."""
    numbers = torch.tensor(data.label_numbers(name, dataset, labels))
    pairs = dataset["text_pair"] if "text_pair" in dataset.column_names else None
    encoded = encoders.tokenise(tokenizer, dataset["text"], pairs, max_length=max_length)
    return Split(encoded, numbers, [len(example["input_ids"]) for example in encoded])


def sizes(job: Job, compressed: Any) -> dict[str, float]:
    """Return how large the model is: in numbers, and in bytes of its file, as it is and through zlib (level 6)."""
    tensors = compressed.state_dict().values()
    content = (job.out / WEIGHTS).read_bytes()
    return {
        "parameters": sum(tensor.numel() for tensor in tensors),
        "nonzero_parameters": sum(int(tensor.count_nonzero()) for tensor in tensors),
        "bytes": len(content),
        "teacher_bytes": (job.checkpoint / WEIGHTS).stat().st_size,
        "compressed_bytes": len(zlib.compress(content, level=6)),
    }


if __name__ == "__main__":
    sys.exit(run(main))
