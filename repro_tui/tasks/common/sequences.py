"""One vector of outputs for each text or pair of texts: batches, training and prediction of the tasks that have that.

Devlin et al. 2019, "BERT" (arXiv:1810.04805), section 4: the checkpoint's own pooled representation and one linear
layer, all weights trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from datasets import Dataset

from repro_tui import wire
from repro_tui.tasks.common import emit, encoders, loop
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(loop.Settings):
    """Hyperparameters of such a task besides the loop's."""

    max_length: Annotated[int, Ge(2)] = 128
    """Longer inputs are cut to so many tokens."""
    length_grouping: bool = True
    """Batch inputs of similar length together, which saves padding."""
    dropout: Annotated[float, Ge(0), Lt(1)] | None = None
    """Dropout probability everywhere in the model. The checkpoint's own without it."""
    from_scratch: bool = False
    """Draw all weights anew, as the checkpoint's configuration says: the baseline without pretraining."""


@dataclass(frozen=True, slots=True)
class Split:
    """The N examples of a split as the model takes them."""

    encoded: list[encoders.Encoded]
    """Token ids and masks of each example (N), unpadded."""
    targets: torch.Tensor
    """What is to be predicted (N,): class numbers, int64, or scores, float32."""
    lengths: list[int]
    """In tokens (N,)."""


Score = Callable[[torch.Tensor, torch.Tensor], Mapping[str, float]]
"""Metrics by name of a split's targets (N,) and the model's outputs (N, C)."""


def encode(dataset: Dataset, targets: torch.Tensor, tokenizer: Any, max_length: int) -> Split:
    """Tokenise the texts of a split, or its pairs, once."""
    pairs = dataset["text_pair"] if "text_pair" in dataset.column_names else None
    encoded = encoders.tokenise(tokenizer, dataset["text"], pairs, max_length=max_length)
    return Split(encoded, targets, [len(example["input_ids"]) for example in encoded])


def collate(split: Split, batch: Batch, tokenizer: Any, precision: str) -> dict[str, torch.Tensor]:
    """Pad a batch to its longest member; returns tensors (B, T) and the targets (B,)."""
    return {**encoders.pad(tokenizer, [split.encoded[i] for i in batch], precision), "labels": split.targets[batch]}


def predict(model: Any, tokenizer: Any, split: Split, settings: Settings) -> torch.Tensor:
    """Return the model's outputs on a split, (N, C)."""
    outputs = torch.empty(len(split.targets), model.config.num_labels)
    for batch, output in loop.predict(
        model,
        evaluation_batches(split.lengths, settings.eval_batch_size),
        lambda batch: collate(split, batch, tokenizer, settings.precision),
        precision=settings.precision,
    ):
        outputs[batch] = output.logits.float().cpu()
    return outputs


def fine_tune(
    model: Any,
    tokenizer: Any,
    splits: Mapping[str, Split],
    settings: Settings,
    score: Score,
    *,
    data_seed: int,
    out: Path,
) -> None:
    """Train `model` in place, evaluated on the split "validation" where there is one, and write its weights.

    What is minimised is the model's own loss: cross entropy of classes, the mean squared error of scores.
    """
    train = splits["train"]

    def validate(step: int) -> Mapping[str, float]:
        validation = splits["validation"]
        values = score(validation.targets, predict(model, tokenizer, validation, settings))
        emit.metrics(values, split="validation", step=step)
        return values

    emit.phase("train")
    checkpoint = loop.train(
        model,
        settings,
        batches=lambda epoch: training_batches(
            train.lengths, settings.train_batch_size, seed=data_seed, epoch=epoch, grouped=settings.length_grouping
        ),
        collate=lambda batch: collate(train, batch, tokenizer, settings.precision),
        loss=lambda model, inputs: model(**inputs).loss,
        evaluate=validate if "validation" in splits else None,
    )
    emit.weights(model, out)
    if checkpoint is not None:
        wire.emit("note", text=f"the weights are those after step {checkpoint.step}")
        emit.metrics(checkpoint.metrics, split="validation")
