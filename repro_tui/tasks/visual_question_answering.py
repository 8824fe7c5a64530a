"""Answer questions about pictures: both are encoded, the codes multiplied element by element, the answer a class.

The fusion is that of Antol et al. 2015, "VQA" (arXiv:1505.00468), section 4; the encoders are small and trained from
scratch, as in the model that the authors of easy-VQA publish: convolutions for the picture, a bag of words for the
question. Run as `python3 -m repro_tui.tasks.visual_question_answering`; docs/tasks/visual_question_answering.md
documents it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Lt
from torch import nn
from torch.nn.functional import cross_entropy, dropout

from repro_tui import wire
from repro_tui.tasks.common import emit, loop, metrics, start, vqa
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train", "test")
FORMATS = ("easy-vqa",)
CHECKPOINT = "none"
METRICS = ("accuracy", "yes_no_accuracy", "shape_accuracy", "colour_accuracy", "macro_f1", "loss")
OUTPUTS = ("weights", "vocabulary", "predictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(loop.Settings):
    """Hyperparameters of the task besides the loop's; an example of a batch is a picture with all its questions."""

    inputs: Literal["both", "question"] = "both"
    """What the model sees: to compare with the question alone."""
    channels: tuple[int, ...] = (16, 32, 64)
    """Channels of the convolutions over the picture, each of which halves its sides."""
    hidden_size: Annotated[int, Ge(1)] = 64
    """Length of both codes, and units of the layer after their product."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Dropout probability of the product."""


@dataclass(frozen=True, slots=True)
class Split:
    """N pictures with Q questions as the model takes them."""

    pictures: torch.Tensor
    """(N, 3, H, W) of uint8."""
    texts: list[str]
    """The questions (Q,), picture by picture."""
    bags: torch.Tensor
    """Their words (Q, V)."""
    labels: torch.Tensor
    """Numbers of the answers (Q,)."""
    ranges: list[range]
    """Which questions belong to each picture (N,)."""

    def batch(self, indices: Batch) -> dict[str, torch.Tensor]:
        """Return the pictures (B, 3, H, W), their questions (K, V), and whose each is (K,)."""
        asked = self.asked(indices)
        owners = [place for place, index in enumerate(indices) for _ in self.ranges[index]]
        return {
            "pictures": vqa.scaled(self.pictures[indices]), "questions": self.bags[asked],
            "owners": torch.tensor(owners, dtype=torch.int64),
        }  # fmt: skip

    def asked(self, indices: Batch) -> list[int]:
        """Return the questions about some pictures."""
        return [question for index in indices for question in self.ranges[index]]


class Fused(nn.Module):
    """Logits of the answers from the product of two codes of length D."""

    def __init__(self, words: int, answers: int, settings: Settings) -> None:
        super().__init__()
        width = settings.hidden_size
        self.drop = settings.dropout
        self.picture = vqa.PictureEncoder(settings.channels, width) if settings.inputs == "both" else None
        self.norm = nn.LayerNorm(width) if settings.inputs == "both" else None
        self.question = nn.Sequential(nn.Linear(words, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.head = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, answers))

    def forward(self, pictures: torch.Tensor, questions: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
        """Return logits (K, answers) for pictures (B, 3, H, W), questions (K, V) and whose each is (K,)."""
        code = self.question(questions)
        if self.picture is not None and self.norm is not None:
            code = code * self.norm(self.picture(pictures)).tanh()[owners]
        logits: torch.Tensor = self.head(dropout(code, self.drop, self.training))
        return logits


def main(job: Job) -> None:
    """Read, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    read = vqa.load(job.splits)
    for name in SPLITS:
        if name not in read:
            raise TaskError(f"there is no split {name!r}", "visual_question_answering needs the splits train and test")
    vocabulary = vqa.vocabulary(text for picture in read["train"] for text, _ in picture.questions)
    answers = sorted(set(vqa.answers(read["train"])))
    splits = {name: encode(name, pictures, vocabulary, answers) for name, pictures in read.items()}
    train, test = splits["train"], splits["test"]
    model = Fused(len(vocabulary), len(answers), settings).to(device)

    def evaluate(split: Split) -> tuple[list[int], metrics.Classification, dict[str, float]]:
        """Return the predicted answers (Q,), the metrics with their tables, and all values on a split."""
        logits = torch.empty(len(split.labels), len(answers))
        order = evaluation_batches([len(asked) for asked in split.ranges], settings.eval_batch_size)
        for batch, output in loop.predict(model, order, split.batch, precision=settings.precision):
            logits[split.asked(batch)] = output.float().cpu()
        predicted = logits.argmax(dim=-1)
        found = metrics.classification(split.labels.tolist(), predicted.tolist(), answers, averaging="macro")
        values = {"accuracy": found.values["accuracy"], **by_type(split.texts, (predicted == split.labels).tolist())}
        values |= {"macro_f1": found.values["macro_f1"], "loss": cross_entropy(logits, split.labels).item()}
        return predicted.tolist(), found, values

    def validate(step: int) -> Mapping[str, float]:
        values = evaluate(splits["validation"])[2]
        emit.metrics(values, split="validation", step=step)
        return values

    emit.phase("train")
    checkpoint = loop.train(
        model,
        settings,
        batches=lambda epoch: training_batches(
            [1] * len(train.ranges), settings.train_batch_size, seed=job.data_seed, epoch=epoch, grouped=False
        ),
        collate=lambda batch: {**train.batch(batch), "labels": train.labels[train.asked(batch)]},
        loss=lambda model, inputs: cross_entropy(
            model(inputs["pictures"], inputs["questions"], inputs["owners"]), inputs["labels"]
        ),
        weigh=lambda batch: len(train.asked(batch)),
        evaluate=validate if "validation" in splits else None,
    )
    emit.weights(model, job.out)
    path = job.out / "vocabulary.json"
    path.write_text(json.dumps({"words": list(vocabulary), "answers": answers}) + "\n", encoding="utf-8")
    emit.output("vocabulary", path, job.out)

    emit.phase("evaluate")
    if checkpoint is not None:
        wire.emit("note", text=f"the weights are those after step {checkpoint.step}")
        emit.metrics(checkpoint.metrics, split="validation")
    predicted, found, values = evaluate(test)
    emit.metrics(values, split="test")
    emit.table("per_class", *found.per_class)
    emit.table("confusion_matrix", *found.confusion)
    numbers = [picture.number for picture in read["test"] for _ in picture.questions]
    rows = (
        (number, text, answers[label], answers[guess])
        for number, text, label, guess in zip(numbers, test.texts, test.labels.tolist(), predicted, strict=True)
    )
    emit.predictions(("image", "question", "label", "predicted"), rows, job.out)


def encode(name: str, pictures: list[vqa.Picture], vocabulary: dict[str, int], answers: list[str]) -> Split:
    """Return a split as tensors, pictures without a question left out; raises TaskError for an unknown or no answer."""
    asked = [picture for picture in pictures if picture.questions]
    if not asked:
        raise TaskError(
            f"splits.{name}: no question is asked about its pictures", "Check questions.json, and what the split takes"
        )
    number = {answer: place for place, answer in enumerate(answers)}
    if unknown := sorted(set(vqa.answers(asked)) - set(answers)):
        raise TaskError(
            f"splits.{name} has the answer {unknown[0]!r}, which no training example has",
            f"Known are: {', '.join(answers)}",
        )
    ranges: list[range] = []
    for picture in asked:
        begin = ranges[-1].stop if ranges else 0
        ranges.append(range(begin, begin + len(picture.questions)))
    texts = [text for picture in asked for text, _ in picture.questions]
    labels = torch.tensor([number[answer] for answer in vqa.answers(asked)])
    return Split(torch.stack([each.pixels for each in asked]), texts, vqa.bags(texts, vocabulary), labels, ranges)


def kind(question: str) -> str:
    """Return what is asked for: "colour" or "shape" by what the question names after "what", else "yes_no"."""
    asked = vqa.words(question)
    if asked[:1] != ["what"]:
        return "yes_no"
    return "colour" if "color" in asked else "shape"


def by_type(questions: list[str], correct: list[bool]) -> dict[str, float]:
    """Return the accuracy on the questions of each type that there is, by the metric's name."""
    outcomes: dict[str, list[bool]] = {"yes_no": [], "shape": [], "colour": []}
    for question, is_correct in zip(questions, correct, strict=True):
        outcomes[kind(question)].append(is_correct)
    return {f"{name}_accuracy": sum(each) / len(each) for name, each in outcomes.items() if each}


if __name__ == "__main__":
    sys.exit(run(main))
