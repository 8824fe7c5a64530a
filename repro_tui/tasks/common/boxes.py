"""Boxes (left, top, right, bottom): how much they overlap, and which of many detections of one object is kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in a picture, most certain first."""

    boxes: Tensor
    """In pixels of the picture that the model saw (N, 4)."""
    scores: Tensor
    """Between 0 and 1 (N,)."""
    classes: Tensor
    """Numbers of the classes (N,)."""


def area(boxes: Tensor) -> Tensor:
    """Return the areas (...) of boxes (..., 4)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def overlap(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return the areas (...) of intersection and union of boxes (..., 4) and (..., 4), which are broadcast."""
    sides = (torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])).clamp(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    return intersection, area(one) + area(other) - intersection


def generalised_iou(one: Tensor, other: Tensor) -> Tensor:
    """Return intersection over union, less the part of the hull of both that neither covers (...).

    Rezatofighi et al. 2019, "Generalized Intersection over Union" (arXiv:1902.09630).
    """
    intersection, union = overlap(one, other)
    sides = torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2])
    hull = (sides[..., 0] * sides[..., 1]).clamp(min=1e-7)
    return intersection / union.clamp(min=1e-7) - (hull - union) / hull


def suppress(found: Detections, *, iou: float, most: int) -> Detections:
    """Return the detections without those that overlap a more certain one of their class by more than `iou`.

    Greedy non-maximum suppression; of equal scores the first comes first. At most `most` are left.
    """
    order = found.scores.sort(descending=True, stable=True).indices
    boxes, classes = found.boxes[order], found.classes[order]
    intersection, union = overlap(boxes[:, None], boxes[None])
    rivals = (intersection > iou * union) & (classes[:, None] == classes[None])
    kept = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    for place in range(len(order)):
        if kept[place]:
            kept[place + 1 :] &= ~rivals[place, place + 1 :]
    chosen = order[kept][:most]
    return Detections(found.boxes[chosen], found.scores[chosen], found.classes[chosen])
