"""Classify rows that hold a text beside categories and numbers, with a fine-tuned encoder for the text.

Gu & Budhkar 2021, "A Package for Learning on Tabular and Text Data with Transformers" (MAI-Workshop 2021, pages 69-73,
https://aclanthology.org/2021.maiworkshop-1.10/): of its ways to combine them the concatenation, here followed by one
hidden layer. Categories are embedded (Guo & Berkhahn 2016, arXiv:1604.06737); the text's representation is the mean
over its tokens (Reimers & Gurevych 2019, arXiv:1908.10084) or the first token's. Run as
`python3 -m repro_tui.tasks.text_and_table`; docs/tasks/text_and_table.md documents it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Lt
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import cross_entropy, relu
from transformers import AutoModel
from transformers.modeling_outputs import SequenceClassifierOutput

from repro_tui import wire
from repro_tui.tasks.common import emit, encoders, loop, metrics, start, tables
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train", "test")
FORMATS = ("csv", "tsv", "parquet")
CHECKPOINT = "optional"
METRICS = ("accuracy", "{averaging}_precision", "{averaging}_recall", "{averaging}_f1", "auc", "loss")
OUTPUTS = ("weights", "features", "predictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(loop.Settings):
    """Hyperparameters of the task besides the loop's."""

    inputs: Literal["both", "text", "table"] = "both"
    """What the model sees: to compare with the text alone and the table alone, which needs no checkpoint."""
    categorical: tuple[str, ...] = ()
    """Columns of categories; each value has an embedding, one that training does not have the zero vector."""
    numerical: tuple[str, ...] = ()
    """Columns of numbers, standardised by the training split; a missing one is the mean."""
    embedding_size: Annotated[int, Ge(1)] = 16
    """Numbers that stand for one category."""
    hidden_size: Annotated[int, Ge(1)] = 128
    """Units of the hidden layer over the concatenation."""
    pooling: Literal["mean", "first"] = "mean"
    """The text's representation: the mean over its tokens, or the first token's."""
    max_length: Annotated[int, Ge(2)] = 128
    """Longer texts are cut to so many tokens."""
    length_grouping: bool = True
    """Batch texts of similar length together, which saves padding."""
    dropout: Annotated[float, Ge(0), Lt(1)] | None = None
    """Dropout probability everywhere in the encoder. The checkpoint's own without it."""
    averaging: Literal["macro", "binary"] = "macro"
    """Precision, recall and F1: the mean over all classes, or those of the second of two classes."""


@dataclass(frozen=True, slots=True)
class Split:
    """The N rows of a split as the model takes them."""

    categories: torch.Tensor
    """(N, categorical columns), 0 for a value that the training split does not have."""
    numbers: torch.Tensor
    """(N, numerical columns), scaled."""
    encoded: list[encoders.Encoded]
    """Token ids and masks of each text (N), unpadded; empty where the model does not read the text."""
    classes: list[int]
    """Class numbers (N,)."""
    lengths: list[int]
    """In tokens (N,)."""


class Fused(nn.Module):
    """Encoder, embeddings and numbers side by side, one hidden layer, one linear layer."""

    def __init__(self, encoder: Any | None, sizes: list[int], numbers: int, classes: int, settings: Settings) -> None:
        """Take an encoder, or none, and draw the rest; `sizes` are the numbers of values of the categorical columns."""
        super().__init__()
        self.encoder = encoder
        self.pooling = settings.pooling
        self.embeddings = nn.ModuleList(nn.Embedding(size, settings.embedding_size, padding_idx=0) for size in sizes)
        width = len(sizes) * settings.embedding_size + numbers + (encoder.config.hidden_size if encoder else 0)
        self.hidden = nn.Linear(width, settings.hidden_size)
        self.head = nn.Linear(settings.hidden_size, classes)

    def forward(
        self, categories: torch.Tensor, numbers: torch.Tensor, labels: torch.Tensor, **text: torch.Tensor
    ) -> SequenceClassifierOutput:
        """Return logits (B, classes) of categories (B, C), numbers (B, M) and tokens (B, T), and the mean loss ()."""
        parts = [embedding(categories[:, column]) for column, embedding in enumerate(self.embeddings)]
        parts.append(numbers)
        if self.encoder is not None:
            states = self.encoder(**text).last_hidden_state  # (B, T, H)
            mask = text["attention_mask"].unsqueeze(-1)  # (B, T, 1)
            parts.append(states[:, 0] if self.pooling == "first" else (states * mask).sum(dim=1) / mask.sum(dim=1))
        logits = self.head(relu(self.hidden(torch.cat(parts, dim=1))))
        return SequenceClassifierOutput(loss=cross_entropy(logits, labels), logits=logits)


def main(job: Job) -> None:
    """Read, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    reads_text, reads_table = settings.inputs != "table", settings.inputs != "text"
    if reads_table and not settings.categorical and not settings.numerical:
        raise TaskError(
            f'inputs = "{settings.inputs}" needs columns', "Name them in hyperparameters.categorical and .numerical"
        )
    text = text_column(job)
    columns = [*settings.categorical, *settings.numerical] if reads_table else []
    loaded = tables.load(job.splits, list(dict.fromkeys([text, *columns])))  # a column may be both kinds, or the text
    for name in SPLITS:
        if name not in loaded:
            raise TaskError(f"there is no split {name!r}", "text_and_table needs the splits train and test")
    labels = sorted(set(loaded["train"].classes))
    if len(labels) < 2 or (settings.averaging == "binary" and len(labels) != 2):
        raise TaskError(f"splits.train has {len(labels)} classes", 'Check `label`; averaging = "binary" needs two')
    features = tables.Features.fit(
        loaded["train"].frame,
        settings.categorical if reads_table else (),
        settings.numerical if reads_table else (),
    )
    tokenizer, encoder = encoders.load(job, AutoModel, settings) if reads_text else (None, None)
    splits = {}
    for name, table in loaded.items():
        classes = class_numbers(name, table, labels)
        encoded = (
            encoders.tokenise(tokenizer, tables.texts(table.frame[text]), max_length=settings.max_length)
            if reads_text
            else []
        )
        lengths = [len(example["input_ids"]) for example in encoded] or [1] * len(classes)
        splits[name] = Split(features.categories(table.frame), features.numbers(table.frame), encoded, classes, lengths)
    model = Fused(encoder, features.sizes, len(features.means), len(labels), settings).to(device)

    def collate(split: Split, batch: Batch) -> dict[str, torch.Tensor]:
        """Return categories (B, C), numbers (B, M), labels (B,) and, padded to the longest, tokens (B, T)."""
        inputs = {
            "categories": split.categories[batch],
            "numbers": split.numbers[batch],
            "labels": torch.tensor([split.classes[i] for i in batch]),
        }
        if reads_text:
            inputs |= encoders.pad(tokenizer, [split.encoded[i] for i in batch], settings.precision)
        return inputs

    def evaluate(split: Split) -> tuple[list[int], metrics.Classification]:
        """Return the predicted classes (N,) and the metrics on a split."""
        logits = torch.empty(len(split.classes), len(labels))
        for batch, output in loop.predict(
            model,
            evaluation_batches(split.lengths, settings.eval_batch_size),
            lambda batch: collate(split, batch),
            precision=settings.precision,
        ):
            logits[batch] = output.logits.float().cpu()
        predicted = logits.argmax(dim=-1).tolist()
        found = metrics.classification(split.classes, predicted, labels, averaging=settings.averaging)
        if len(labels) == len(set(split.classes)) == 2:
            found.values["auc"] = float(roc_auc_score(split.classes, logits[:, 1] - logits[:, 0]))
        found.values["loss"] = cross_entropy(logits, torch.tensor(split.classes)).item()
        return predicted, found

    def validate(step: int) -> Mapping[str, float]:
        _, found = evaluate(splits["validation"])
        emit.metrics(found.values, split="validation", step=step)
        return found.values

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
    path = job.out / "features.json"
    path.write_text(json.dumps(features.body(), ensure_ascii=False, indent=1, sort_keys=True), encoding="utf-8")
    emit.output("features", path, job.out)

    emit.phase("evaluate")
    if checkpoint is not None:
        wire.emit("note", text=f"the weights are those after step {checkpoint.step}")
        emit.metrics(checkpoint.metrics, split="validation")
    test = splits["test"]
    predicted, found = evaluate(test)
    emit.metrics(found.values, split="test")
    emit.table("per_class", *found.per_class)
    emit.table("confusion_matrix", *found.confusion)
    rows = ((i, labels[test.classes[i]], labels[number]) for i, number in enumerate(predicted))
    emit.predictions(("example", "label", "predicted"), rows, job.out)


def text_column(job: Job) -> str:
    """Return the name of the text's column, the same in all files; raises TaskError."""
    names = {spec["text"] for spec in job.splits.values() if spec.get("part_of") is None}
    if len(names) != 1:
        raise TaskError(f"the splits call the text {', '.join(map(repr, sorted(names)))}", "Give them one `text`")
    return str(names.pop())


def class_numbers(name: str, table: tables.Table, labels: list[str]) -> list[int]:
    """Return the place of each row's class in `labels`, (N,); raises TaskError for one that is not there."""
    number = {label: index for index, label in enumerate(labels)}
    unknown = sorted(set(table.classes) - set(labels))
    if unknown:
        raise TaskError(
            f"splits.{name} has the label {unknown[0]!r}, which no training example has", f"Known: {', '.join(labels)}"
        )
    return [number[label] for label in table.classes]


if __name__ == "__main__":
    sys.exit(run(main))
