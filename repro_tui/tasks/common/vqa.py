"""Pictures with questions about them (the format easy-vqa), and small encoders for both.

A folder of the format holds `images/<number>.png`, all of one size, and `questions.json`: a list of
[question, answer, number of the image], as easy-VQA publishes it (https://github.com/vzhou842/easy-VQA).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from repro_tui.tasks.common import data, images
from repro_tui.tasks.common.job import TaskError


@dataclass(frozen=True, slots=True)
class Picture:
    """One image and what is asked about it."""

    number: int
    pixels: torch.Tensor
    """(3, H, W) of uint8."""
    questions: tuple[tuple[str, str], ...]
    """Questions and their answers, in the file's order; there may be none."""


def load(specs: data.Specs) -> dict[str, list[Picture]]:
    """Return the pictures of every split.

    An example is a picture with all its questions: `examples`, `first` and parts count pictures, so that no part shares
    one with another. `classes` counts the answers to all questions.
    """
    pinned = {name: {"classes": spec.get("classes")} for name, spec in specs.items()}

    def read_and_check(name: str, spec: data.Spec) -> list[Picture]:
        pictures = read(name, spec)
        data.check(name, pinned[name], len(pictures), answers(pictures[spec.get("skip") or 0 :][: spec.get("first")]))
        return pictures

    splits = data.assemble({name: {**spec, "classes": None} for name, spec in specs.items()}, read_and_check)
    for name, spec in specs.items():
        if spec.get("part_of") is not None:
            data.check(name, pinned[name], len(splits[name]), answers(splits[name]))
    return splits


def answers(pictures: Iterable[Picture]) -> list[str]:
    """Return the answers to all questions, in order."""
    return [answer for picture in pictures for _, answer in picture.questions]


def read(split: str, spec: data.Spec) -> list[Picture]:
    """Read a folder, pictures by their number; raises TaskError that names split and file."""
    folder = Path(spec["path"]) / (spec.get("folder") or "")
    listing = folder / "questions.json"
    asked: dict[int, list[tuple[str, str]]] = defaultdict(list)
    try:
        for question, answer, number in json.loads(listing.read_bytes()):
            asked[number].append((question, answer))
    except OSError as error:
        raise TaskError(f"splits.{split}: {listing}: {error.strerror}", "Check the artifact and `folder`") from None
    except (ValueError, TypeError) as error:
        raise TaskError(
            f"splits.{split}: {listing} is not of the format easy-vqa: {error}",
            "It is a JSON list of [question, answer, number of the image]",
        ) from None
    files = {int(path.stem): path for path in (folder / "images").glob("*.png") if path.stem.isdigit()}
    if not files:
        raise TaskError(f"splits.{split}: {folder}/images has no <number>.png", "Check the artifact and `folder`")
    if missing := sorted(set(asked) - set(files)):
        raise TaskError(f"splits.{split}: {folder}/images has no {missing[0]}.png", "A question is asked about it")
    pictures = [Picture(number, pixels(split, path), tuple(asked[number])) for number, path in sorted(files.items())]
    if len({picture.pixels.shape for picture in pictures}) > 1:
        raise TaskError(f"splits.{split}: {folder}/images has pictures of several sizes", "Bring them to one size")
    return pictures


def pixels(split: str, path: Path) -> torch.Tensor:
    """Return a picture (3, H, W) of uint8; raises TaskError for a file that is none."""
    try:
        with Image.open(path) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()
    except images.UNREADABLE as error:
        raise TaskError(f"splits.{split}: {path}: {error}", "Fetch the artifact again") from None


def scaled(pictures: torch.Tensor) -> torch.Tensor:
    """Return pictures (B, 3, H, W) of uint8 as float32 from -0.5 to 0.5."""
    return pictures.float() / 255 - 0.5


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case, without punctuation."""
    return re.findall(r"[a-z0-9]+", text.lower())


def vocabulary(texts: Iterable[str]) -> dict[str, int]:
    """Return the number of each word of the texts, in alphabetical order."""
    return {word: number for number, word in enumerate(sorted({word for text in texts for word in words(text)}))}


def bags(texts: Sequence[str], numbers: dict[str, int]) -> torch.Tensor:
    """Return how often each word of the vocabulary is in each text, (N, V); words that are not in it count nowhere."""
    counts = torch.zeros(len(texts), len(numbers))
    for row, text in enumerate(texts):
        for word in words(text):
            if word in numbers:
                counts[row, numbers[word]] += 1
    return counts


class PictureEncoder(nn.Module):
    """Blocks of 3x3 convolution of stride 2, batch norm and ReLU, the highest value of each channel, a linear layer.

    Strides in place of pooling: Springenberg et al. 2015, "Striving for Simplicity" (arXiv:1412.6806). What is highest
    in a channel does not depend on where in the picture it is.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((3, *channels)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.blocks = nn.Sequential(*layers)
        self.linear = nn.Linear((3, *channels)[-1], width)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return codes (B, D) of pictures (B, 3, H, W)."""
        code: torch.Tensor = self.linear(self.blocks(pictures).amax(dim=(2, 3)))
        return code
