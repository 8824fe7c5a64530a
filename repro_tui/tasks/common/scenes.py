"""Whole pictures with something at places in them: opened, scaled down, mirrored, put side by side in batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from repro_tui.tasks.common import images
from repro_tui.tasks.common.batches import Batch
from repro_tui.tasks.common.job import TaskError

Scale = tuple[Sequence[float], Sequence[float]]

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Of ImageNet's pixels (0 to 255), by which most checkpoints want theirs as (pixel - mean) / deviation."""


def opened(split: str, path: Path, longest: int | None) -> tuple[Tensor, tuple[int, int]]:
    """Return a picture as RGB bytes (3, H, W) and its own (height, width).

    It is scaled down by bilinear interpolation until its longer side has `longest` pixels, and never up. Raises
    TaskError for what is no picture.
    """
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except images.UNREADABLE as error:
        raise TaskError(
            f"splits.{split}: {path} is no picture: {images.fault(error)}",
            "Check the list, and that the artifact is whole",
        ) from None
    width, height = picture.size
    if longest is not None and max(picture.size) > longest:
        sides = [max(1, round(side * longest / max(picture.size))) for side in picture.size]
        picture = picture.resize((sides[0], sides[1]), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1), (height, width)


def batched(pictures: Sequence[Tensor], scale: Scale, multiple: int) -> Tensor:
    """Return pictures (3, H, W) of any sizes as (pixel - mean) / deviation, (B, 3, H', W') in channels-last order.

    `scale` are mean and deviation of each channel. H' and W' are the largest of the batch, rounded up to a multiple;
    what is right of and below a picture is 0.
    """
    height, width = (-(-max(picture.shape[axis] for picture in pictures) // multiple) * multiple for axis in (1, 2))
    shift, spread = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in scale)
    batch = torch.zeros(len(pictures), 3, height, width)
    for place, picture in zip(batch, pictures, strict=True):
        place[:, : picture.shape[1], : picture.shape[2]] = (picture.float() - shift) / spread
    return batch.contiguous(memory_format=torch.channels_last)


class Chances:
    """What happens to each example in an epoch: a function of the seed, the epoch and its number, not of its batch."""

    def __init__(self, count: int, *, events: int, seed: int) -> None:
        self._count, self._events, self._seed = count, events, seed
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Draw `events` numbers in [0, 1) for every example of this epoch."""
        generator = torch.Generator().manual_seed((self._seed + epoch) % 2**63)
        self._drawn = torch.rand(self._count, self._events, generator=generator)

    def of(self, batch: Batch) -> Tensor:
        """Return the numbers of some examples (B, events)."""
        return self._drawn[batch]
