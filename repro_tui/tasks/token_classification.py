"""Fine-tune an encoder checkpoint to tag words (entities, parts of speech), and evaluate it once on the test split.

Devlin et al. 2019, "BERT" (arXiv:1810.04805), section 5.3: one linear layer over the last hidden state of each word's
first token, all weights trained, each tag chosen by itself. Run as `python3 -m repro_tui.tasks.token_classification`;
docs/tasks/token_classification.md documents it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Lt
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from transformers import AutoModelForTokenClassification

from repro_tui import wire
from repro_tui.tasks.common import emit, encoders, loop, start, tagged
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train", "test")
FORMATS = ("conll", "word-tag")
CHECKPOINT = "needed"
METRICS = ("accuracy", "entity_precision", "entity_recall", "entity_f1", "loss")
OUTPUTS = ("weights", "predictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(loop.Settings):
    """Hyperparameters of the task besides the loop's."""

    tags: Literal["entities", "words", "basic"] = "entities"
    """Tags mark entities (B-person, I-person, O), or say something of each word by itself (parts of speech); "basic"
    keeps of the Brown corpus's tags the part of speech only."""
    files: str = "*"
    """Pattern of the names of the files that are read, where a split is a folder."""
    max_length: Annotated[int, Ge(3)] = 128
    """Tokens of an input. A longer sentence is read in several, none of its words left out."""
    length_grouping: bool = True
    """Batch inputs of similar length together, which saves padding."""
    dropout: Annotated[float, Ge(0), Lt(1)] | None = None
    """Dropout probability everywhere in the model. The checkpoint's own without it."""
    from_scratch: bool = False
    """Draw all weights anew, as the checkpoint's configuration says: the baseline without pretraining."""


def main(job: Job) -> None:
    """Read, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    sentences = tagged.load_splits(job.splits, basic=settings.tags == "basic", files=settings.files)
    for name in SPLITS:
        if name not in sentences:
            raise TaskError(f"there is no split {name!r}", "token_classification needs the splits train and test")
    labels = label_set(sentences["train"], settings)
    tokenizer, model = encoders.load(
        job,
        AutoModelForTokenClassification,
        settings,
        from_scratch=settings.from_scratch,
        words=True,
        **encoders.named(labels),
    )
    splits = {
        name: tagged.encode(of_split, label_numbers(name, of_split, labels), tokenizer, settings.max_length)
        for name, of_split in sentences.items()
    }
    model.to(device)

    def collate(split: tagged.Windows, batch: Batch) -> dict[str, torch.Tensor]:
        """Pad a batch to its longest member; returns tensors (B, T), the tags' numbers at first tokens (B, T)."""
        padded = encoders.pad(tokenizer, [split.encoded[i] for i in batch], settings.precision)
        targets = torch.full_like(padded["input_ids"], tagged.UNTAGGED)
        for row, i in enumerate(batch):
            targets[row, split.places[i]] = torch.tensor(split.targets[i])
        return {**padded, "labels": targets}

    def words(split: tagged.Windows, batch: Batch) -> int:
        return sum(len(split.targets[i]) for i in batch)

    def evaluate(name: str) -> tuple[list[list[str]], dict[str, float]]:
        """Return the predicted tags of each sentence, and the metrics; the loss is the mean over words, in nats."""
        split = splits[name]
        found: list[list[int]] = [[] for _ in split.encoded]
        loss = 0.0
        for batch, output in loop.predict(
            model,
            evaluation_batches(split.lengths, settings.eval_batch_size),
            lambda batch: collate(split, batch),
            precision=settings.precision,
        ):
            loss += output.loss.item() * words(split, batch)
            for i, row in zip(batch, output.logits.argmax(dim=-1).cpu(), strict=True):
                found[i] = row[split.places[i]].tolist()
        predicted: list[list[str]] = [[] for _ in sentences[name]]
        for i, sentence in enumerate(split.sentences):
            predicted[sentence] += [labels[number] for number in found[i]]
        true = [sentence.tags for sentence in sentences[name]]
        values = {"accuracy": float(accuracy_score(list(chain(*true)), list(chain(*predicted))))}
        if settings.tags == "entities":
            values |= tagged.entity_scores(true, predicted)[0]
        return predicted, {**values, "loss": loss / words(split, range_of(split))}

    def validate(step: int) -> Mapping[str, float]:
        _, values = evaluate("validation")
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
        weigh=lambda batch: words(train, batch),
        evaluate=validate if "validation" in splits else None,
    )
    emit.weights(model, job.out)

    emit.phase("evaluate")
    if checkpoint is not None:
        wire.emit("note", text=f"the weights are those after step {checkpoint.step}")
        emit.metrics(checkpoint.metrics, split="validation")
    predicted, values = evaluate("test")
    emit.metrics(values, split="test")
    report(sentences["test"], predicted, settings)
    rows = (
        (number, word, tag, found)
        for number, (sentence, tags) in enumerate(zip(sentences["test"], predicted, strict=True))
        for word, tag, found in zip(sentence.words, sentence.tags, tags, strict=True)
    )
    emit.predictions(("sentence", "word", "tag", "predicted"), rows, job.out)


def range_of(split: tagged.Windows) -> Batch:
    """Return all inputs of a split as one batch."""
    return list(range(len(split.encoded)))


def label_set(train: list[tagged.Sentence], settings: Settings) -> list[str]:
    """Return the tags of the training split, sorted; raises TaskError for fewer than two and for no BIO tags."""
    labels = sorted({tag for sentence in train for tag in sentence.tags})
    if len(labels) < 2:
        raise TaskError(f"splits.train has the tags {labels} only", "Check `label`: is it the right column?")
    odd = [tag for tag in labels if tag != "O" and tag[:2] not in {"B-", "I-"}]
    if settings.tags == "entities" and odd:
        raise TaskError(f"splits.train has the tag {odd[0]!r}, which is none of O, B-…, I-…", 'Use tags = "words"')
    return labels


def label_numbers(name: str, sentences: list[tagged.Sentence], labels: list[str]) -> list[list[int]]:
    """Return the place of each word's tag in `labels`; raises TaskError for a tag that training does not have."""
    number = {label: index for index, label in enumerate(labels)}
    try:
        return [[number[tag] for tag in sentence.tags] for sentence in sentences]
    except KeyError as error:
        raise TaskError(
            f"splits.{name} has the tag {error}, which no training example has", f"Known are: {', '.join(labels)}"
        ) from None


def report(sentences: list[tagged.Sentence], predicted: list[list[str]], settings: Settings) -> None:
    """Tell the scores of each type of entity, or of each tag, as metrics of one class and as a table."""
    true = [sentence.tags for sentence in sentences]
    if settings.tags == "entities":
        _, scores, support = tagged.entity_scores(true, predicted)
    else:
        flat, found = list(chain(*true)), list(chain(*predicted))
        classes = sorted({*flat, *found})
        columns = precision_recall_fscore_support(flat, found, labels=classes, average=None, zero_division=0)
        names = ("precision", "recall", "f1")
        scores = {tag: {n: float(c[i]) for n, c in zip(names, columns, strict=False)} for i, tag in enumerate(classes)}
        support = {tag: int(columns[3][i]) for i, tag in enumerate(classes)}
    for kind, values in scores.items():
        for name, value in values.items():
            wire.emit("metric", name=name, value=value, split="test", **{"class": kind})
    rows: list[list[str | float]] = [[kind, *values.values(), support[kind]] for kind, values in scores.items()]
    emit.table("per_class", ["class", "precision", "recall", "f1", "support"], rows)


if __name__ == "__main__":
    sys.exit(run(main))
