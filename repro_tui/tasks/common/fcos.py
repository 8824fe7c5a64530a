"""A detector without anchors on EfficientNet-lite0: FCOS (Tian et al. 2019, arXiv:1904.01355), made light.

As in the paper: every place of a feature map inside the middle of an object says how far away the four sides of its box
are, which class it is, and how near it is to the middle ("centre-ness"); large objects belong to coarse maps. Lighter:
three maps (strides 8, 16, 32) in place of five, narrower and shallower towers, and boxes are compared by generalised
IoU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from repro_tui.tasks.common.boxes import Detections, area, generalised_iou, suppress
from repro_tui.tasks.common.pyramid import Pyramid

STRIDES = (8, 16, 32)
REACH = (0.0, 64.0, 128.0, math.inf)
"""A map takes the objects whose farthest side is so many input pixels away: of each map the bounds (the paper's P3)."""

RADIUS = 1.5
"""Places count as the middle of an object up to so many strides from its centre."""

ALPHA, GAMMA = 0.25, 2.0
"""Weight of objects against background, and the exponent by which easy places count less (arXiv:1708.02002)."""

PRIOR = 0.01
"""Probability of an object at any place before training."""

CANDIDATES = 1000
"""Places a picture that are looked at, the most certain ones."""


class Tower(nn.Sequential):
    """`depth` convolutions with group norm and ReLU, the same for every map."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        for _ in range(depth):
            self.append(nn.Conv2d(channels, channels, 3, padding=1, bias=False))
            self.append(nn.GroupNorm(channels // 8, channels))
            self.append(nn.ReLU(inplace=True))


class Fcos(nn.Module):
    """Pyramid and heads."""

    scale, multiple = Pyramid.scale, Pyramid.multiple

    def __init__(
        self, classes: int, *, channels: int, depth: int, score_threshold: float, nms_iou: float, most: int
    ) -> None:
        super().__init__()
        self.pyramid = Pyramid(channels, finest=STRIDES[0])
        self.class_tower, self.box_tower = Tower(channels, depth), Tower(channels, depth)
        self.logits = nn.Conv2d(channels, classes, 3, padding=1)
        self.sides = nn.Conv2d(channels, 4, 3, padding=1)
        self.centreness = nn.Conv2d(channels, 1, 3, padding=1)
        self.factors = nn.Parameter(torch.ones(len(STRIDES)))
        for module in (self.class_tower, self.box_tower, self.logits, self.sides, self.centreness):
            for layer in module.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.normal_(layer.weight, std=0.01)
        for layer in (self.sides, self.centreness):
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.logits.bias, -math.log((1 - PRIOR) / PRIOR))
        self.score_threshold, self.nms_iou, self.most = score_threshold, nms_iou, most

    def heads(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return what P places of all maps say, and where they are.

        Logits of the classes (B, P, C), boxes in input pixels (B, P, 4), logits of the centre-ness (B, P), the places
        (P, 2) as (x, y), and the number of the map of each (P,).
        """
        logits, boxes, centreness, places, levels = [], [], [], [], []
        for number, (stride, each) in enumerate(zip(STRIDES, self.pyramid(pixels), strict=True)):
            grid = grid_of(each.shape[2], each.shape[3], stride, each.device)
            on_class, on_box = self.class_tower(each), self.box_tower(each)
            distances = (self.factors[number] * self.sides(on_box)).exp() * stride
            logits.append(self.logits(on_class).flatten(2).transpose(1, 2))
            boxes.append(boxes_of(grid, distances.flatten(2).transpose(1, 2)))
            centreness.append(self.centreness(on_box).flatten(1))
            places.append(grid)
            levels.append(torch.full((len(grid),), number, device=each.device))
        return torch.cat(logits, 1), torch.cat(boxes, 1), torch.cat(centreness, 1), torch.cat(places), torch.cat(levels)

    def loss(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the mean loss () of a batch: focal loss of the classes, IoU of the boxes, centre-ness.

        Of `inputs`: "pixels" (B, 3, H, W), "boxes" (B, M, 4) in input pixels, and "classes" (B, M), -1 where a picture
        has fewer than M objects.
        """
        logits, predicted, centreness, places, levels = self.heads(inputs["pixels"])
        wanted, target = assign(places, levels, inputs["boxes"], inputs["classes"])
        found = wanted >= 0
        count = found.sum().clamp(min=1)
        truth = one_hot(wanted.clamp(min=0), logits.shape[2]).float() * found[..., None]
        classification = focal_loss(logits.float(), truth).sum() / count
        target, predicted = target[found], predicted.float()[found]
        near = centreness_of(places.expand(len(wanted), -1, -1)[found], target)
        box = ((1 - generalised_iou(predicted, target)) * near).sum() / near.sum().clamp(min=1e-6)
        centre = binary_cross_entropy_with_logits(centreness.float()[found], near, reduction="sum") / count
        return classification + box + centre

    def forward(self, pixels: Tensor, sizes: Tensor) -> list[Detections]:
        """Return what is found in each picture of a batch (B, 3, H, W) with heights and widths `sizes` (B, 2).

        The score is the root of class probability times centre-ness.
        """
        logits, boxes, centreness, _, _ = self.heads(pixels)
        scores = (logits.float().sigmoid() * centreness.float().sigmoid()[..., None]).sqrt()
        found = []
        for picture, (height, width) in enumerate(sizes.tolist()):
            best, order = scores[picture].flatten().sort(descending=True, stable=True)
            order = order[: min(CANDIDATES, int((best > self.score_threshold).sum()))]
            place, number = order // logits.shape[2], order % logits.shape[2]
            limit = torch.tensor([width, height, width, height], device=boxes.device)
            inside = torch.minimum(boxes[picture, place].float().clamp(min=0), limit)
            candidates = Detections(inside, scores[picture, place, number], number)
            found.append(suppress(candidates, iou=self.nms_iou, most=self.most))
        return found


def grid_of(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    """Return the centres (height * width, 2) of a map's places as (x, y) in input pixels, row by row."""
    rows, columns = ((torch.arange(side, device=device) + 0.5) * stride for side in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), dim=-1).flatten(0, 1)


def boxes_of(places: Tensor, distances: Tensor) -> Tensor:
    """Return boxes (B, P, 4) whose sides are `distances` (B, P, 4) left of, above, right of and below places (P, 2)."""
    return torch.cat((places - distances[..., :2], places + distances[..., 2:]), dim=-1)


def assign(places: Tensor, levels: Tensor, boxes: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class (B, P) and the box (B, P, 4) that each place is to find; -1 for background.

    A place is an object's where it is in its box, near its centre, and of the map for its size; of several objects the
    smallest has it (section 3.2 of the paper). Places (P, 2), levels (P,), boxes (B, M, 4), classes (B, M).
    """
    to_sides = torch.cat((places[:, None] - boxes[:, None, :, :2], boxes[:, None, :, 2:] - places[:, None]), dim=-1)
    stride = torch.tensor(STRIDES, device=places.device)[levels]
    centre = (boxes[..., :2] + boxes[..., 2:])[:, None] / 2
    central = ((places[:, None] - centre).abs() < RADIUS * stride[:, None, None]).all(dim=-1)
    reach = torch.tensor(REACH, device=places.device)
    farthest = to_sides.amax(dim=-1)
    fits = (farthest >= reach[levels][:, None]) & (farthest < reach[levels + 1][:, None])
    mine = (to_sides.amin(dim=-1) > 0) & central & fits & (classes >= 0)[:, None]
    smallest, which = torch.where(mine, area(boxes)[:, None], math.inf).min(dim=-1)
    background = smallest.isinf()
    target = boxes.gather(1, which[..., None].expand(-1, -1, 4))
    return torch.where(background, -1, classes.gather(1, which)), target


def centreness_of(places: Tensor, boxes: Tensor) -> Tensor:
    """Return how near places (N, 2) are to the middle of boxes (N, 4): 1 there, 0 at a side (equation 3)."""
    before, after = places - boxes[:, :2], boxes[:, 2:] - places
    ratio = torch.minimum(before, after) / torch.maximum(before, after)
    return ratio.prod(dim=-1).clamp(min=0).sqrt()


def focal_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the focal loss (...) of logits (...) against 0 and 1 (...): Lin et al. 2017, arXiv:1708.02002."""
    probability = logits.sigmoid()
    right = torch.where(truth > 0, probability, 1 - probability)
    weight = torch.where(truth > 0, ALPHA, 1 - ALPHA)
    return weight * (1 - right) ** GAMMA * binary_cross_entropy_with_logits(logits, truth, reduction="none")
