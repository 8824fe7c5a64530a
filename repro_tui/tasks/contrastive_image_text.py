"""Train a picture encoder and a text encoder so that a picture and its caption are near each other.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision" (CLIP, arXiv:2103.00020),
figure 3: cosine similarities of all pairs of a batch, a learned temperature, cross-entropy in both directions. Both
encoders are small and trained from scratch; pictures without captions get one from what is asked about them. Run as
`python3 -m repro_tui.tasks.contrastive_image_text`; docs/tasks/contrastive_image_text.md documents it.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from repro_tui import wire
from repro_tui.tasks.common import emit, loop, start, vqa
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train", "test")
FORMATS = ("easy-vqa",)
CHECKPOINT = "none"
METRICS = (
    "image_to_text_recall_1", "image_to_text_recall_5", "image_to_text_recall_10",
    "text_to_image_recall_1", "text_to_image_recall_5", "text_to_image_recall_10", "loss",
)  # fmt: skip
OUTPUTS = ("weights", "vocabulary", "predictions")

RANKS = (1, 5, 10)
"""The k of recall at k."""
MAX_SCALE = 100.0
"""Bound on 1 / temperature (section 2.5 of the paper)."""
SHAPES = ("circle", "rectangle", "triangle")
COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(loop.Settings):
    """Hyperparameters of the task besides the loop's; an example of a batch is a picture with its caption."""

    channels: tuple[int, ...] = (16, 32, 64)
    """Channels of the convolutions over the picture, each of which halves its sides."""
    hidden_size: Annotated[int, Ge(1)] = 64
    """Units of the text encoder's hidden layer."""
    embedding_size: Annotated[int, Ge(1)] = 32
    """Length of the vectors that pictures and captions become."""
    temperature: Annotated[float, Gt(0)] = 0.07
    """What the similarities are divided by, to begin with; it is trained."""


@dataclass(frozen=True, slots=True)
class Split:
    """N pictures and the caption of each."""

    pictures: torch.Tensor
    """(N, 3, H, W) of uint8."""
    captions: list[str]
    bags: torch.Tensor
    """Words of the captions (N, V)."""
    numbers: list[int]
    """Of the pictures' files (N,)."""

    def batch(self, indices: Batch) -> dict[str, torch.Tensor]:
        """Return pictures (B, 3, H, W) and captions (B, V)."""
        return {"pictures": vqa.scaled(self.pictures[indices]), "texts": self.bags[indices]}


class TwoEncoders(nn.Module):
    """Unit vectors of pictures and texts, and the logarithm of what their similarities are multiplied with."""

    def __init__(self, words: int, settings: Settings) -> None:
        super().__init__()
        width = settings.embedding_size
        self.picture = vqa.PictureEncoder(settings.channels, width)
        self.text = nn.Sequential(
            nn.Linear(words, settings.hidden_size), nn.ReLU(), nn.Linear(settings.hidden_size, width)
        )
        self.log_scale = nn.Parameter(torch.tensor(-math.log(settings.temperature)))

    def forward(self, pictures: torch.Tensor, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the vectors (B, D) of pictures (B, 3, H, W), and those of texts (B, V)."""
        return normalize(self.picture(pictures), dim=-1), normalize(self.text(texts), dim=-1)

    def scale(self) -> torch.Tensor:
        """Return 1 / temperature, (); a parameter that training took above the bound is brought back to it first."""
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(MAX_SCALE))
        return self.log_scale.exp()


def contrastive_loss(pictures: torch.Tensor, texts: torch.Tensor, *, scale: torch.Tensor) -> torch.Tensor:
    """Return the loss () of unit vectors (B, D) and (B, D), of which those in the same place belong together.

    The mean of the cross-entropies over the texts of each picture and over the pictures of each text. Where a caption
    stands in a batch twice, each of the two counts as wrong for the other's picture, as in the paper.
    """
    logits = scale * pictures @ texts.T
    place = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, place) + cross_entropy(logits.T, place)) / 2


def recall(scores: torch.Tensor, matches: torch.Tensor) -> dict[int, float]:
    """Return, for each k, the part of queries (Q,) with a match among the k highest of their scores (Q, N).

    `matches` (Q, N) says which candidates are right. What is wrong and scores the same as the best right one is put
    before it, so that a tie never helps; a match whose score is not a number is not found.
    """
    best = scores.masked_fill(~matches, -math.inf).amax(dim=1, keepdim=True)
    before = (~(scores < best) & ~matches).sum(dim=1)
    return {k: ((before < k) & ~best.isnan().squeeze(1)).float().mean().item() for k in RANKS}


def caption(questions: Iterable[tuple[str, str]]) -> str | None:
    """Return "a <colour> <shape>" of what the questions and answers say, None where they do not say both.

    "What ..." takes for granted what it names ("what color is the circle?") and the answer says the rest; other
    questions name what is there where the answer is yes ("is there a red shape?"), or no to a negation.
    """
    named: set[str] = set()
    for question, answer in questions:
        asked = vqa.words(question)
        if asked[:1] == ["what"] or (answer == "yes") != bool({"not", "no"} & set(asked)):
            named |= {answer, *asked}
    shape, colour = ([word for word in known if word in named] for known in (SHAPES, COLOURS))
    return f"a {colour[0]} {shape[0]}" if len(shape) == len(colour) == 1 else None


def main(job: Job) -> None:
    """Read, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    read = vqa.load(job.splits)
    for name in SPLITS:
        if name not in read:
            raise TaskError(f"there is no split {name!r}", "contrastive_image_text needs the splits train and test")
    captioned = {name: with_captions(name, pictures) for name, pictures in read.items()}
    vocabulary = vqa.vocabulary(text for _, text in captioned["train"])
    splits = {name: encode(pairs, vocabulary) for name, pairs in captioned.items()}
    train, test = splits["train"], splits["test"]
    model = TwoEncoders(len(vocabulary), settings).to(device)

    def evaluate(split: Split) -> tuple[list[str], dict[str, float]]:
        """Return the caption nearest to each picture (N,), and the metrics on a split."""
        pictures = torch.empty(len(split.captions), settings.embedding_size)
        texts, loss = torch.empty_like(pictures), 0.0
        order = evaluation_batches([1] * len(split.captions), settings.eval_batch_size)
        for batch, (seen, said) in loop.predict(model, order, split.batch, precision=settings.precision):
            pictures[batch], texts[batch] = seen.float().cpu(), said.float().cpu()
            loss += contrastive_loss(pictures[batch], texts[batch], scale=model.scale().cpu()).item() * len(batch)
        distinct = sorted(set(split.captions))
        rows = torch.tensor([split.captions.index(text) for text in distinct])
        scores = pictures @ texts[rows].T  # (N, distinct captions)
        matches = torch.tensor([[text == other for other in distinct] for text in split.captions])
        values = {f"image_to_text_recall_{k}": value for k, value in recall(scores, matches).items()}
        values |= {f"text_to_image_recall_{k}": value for k, value in recall(scores.T, matches.T).items()}
        nearest = [distinct[place] for place in scores.argmax(dim=1).tolist()]
        return nearest, {**values, "loss": loss / len(split.captions)}

    def validate(step: int) -> Mapping[str, float]:
        values = evaluate(splits["validation"])[1]
        emit.metrics(values, split="validation", step=step)
        return values

    emit.phase("train")
    checkpoint = loop.train(
        model,
        settings,
        batches=lambda epoch: training_batches(
            [1] * len(train.captions), settings.train_batch_size, seed=job.data_seed, epoch=epoch, grouped=False
        ),
        collate=train.batch,
        loss=lambda model, inputs: contrastive_loss(*model(**inputs), scale=model.scale()),
        evaluate=validate if "validation" in splits else None,
    )
    emit.weights(model, job.out)
    path = job.out / "vocabulary.json"
    path.write_text(json.dumps(list(vocabulary)) + "\n", encoding="utf-8")
    emit.output("vocabulary", path, job.out)

    emit.phase("evaluate")
    if checkpoint is not None:
        wire.emit("note", text=f"the weights are those after step {checkpoint.step}")
        emit.metrics(checkpoint.metrics, split="validation")
    nearest, values = evaluate(test)
    emit.metrics(values, split="test")
    rows = zip(test.numbers, test.captions, nearest, strict=True)
    emit.predictions(("image", "caption", "nearest"), rows, job.out)


def with_captions(name: str, pictures: list[vqa.Picture]) -> list[tuple[vqa.Picture, str]]:
    """Return the pictures that have a caption, with it; says how many have none."""
    pairs = [(picture, text) for picture in pictures if (text := caption(picture.questions)) is not None]
    if not pairs:
        raise TaskError(f"splits.{name}: no picture's questions say both its colour and its shape", "Check the split")
    if len(pairs) < len(pictures):
        wire.emit("note", text=f"{name}: {len(pictures) - len(pairs)} of {len(pictures)} pictures have no caption")
    return pairs


def encode(pairs: list[tuple[vqa.Picture, str]], vocabulary: dict[str, int]) -> Split:
    """Return a split as tensors."""
    captions = [text for _, text in pairs]
    pictures = torch.stack([picture.pixels for picture, _ in pairs])
    return Split(pictures, captions, vqa.bags(captions, vocabulary), [picture.number for picture, _ in pairs])


if __name__ == "__main__":
    sys.exit(run(main))
