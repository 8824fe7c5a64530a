"""DETR-type checkpoints (Carion et al. 2020, arXiv:2005.12872): transformers' model, its matching and its loss."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForObjectDetection

from repro_tui.tasks.common.boxes import Detections
from repro_tui.tasks.common.job import TaskError
from repro_tui.tasks.common.scenes import IMAGENET_MEAN, IMAGENET_STD

MODEL_TYPES = ("detr", "table-transformer", "yolos")
"""Those whose last class is "no object", and whose score is a probability of the others."""


class Detr(nn.Module):
    """A checkpoint with a new classifier, behind the same methods as the detector of this project."""

    scale = (IMAGENET_MEAN, IMAGENET_STD)
    multiple = 1

    def __init__(self, folder: Path, classes: list[str]) -> None:
        super().__init__()
        names = {"id2label": dict(enumerate(classes)), "label2id": {name: i for i, name in enumerate(classes)}}
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            if config.model_type not in MODEL_TYPES:
                raise TaskError(
                    f"{folder} holds a model of type {config.model_type!r}", f"Known are: {', '.join(MODEL_TYPES)}"
                )
            self.network: Any = AutoModelForObjectDetection.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32, ignore_mismatched_sizes=True, **names
            )
        except (OSError, ValueError, ImportError) as error:
            reason = str(error).strip().splitlines()[0]
            raise TaskError(
                f"{folder}: {reason}", "It needs config.json and weights, with a backbone of transformers, not of timm"
            ) from None

    def loss(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the loss () of a batch as transformers defines it: matched classes, L1 and generalised IoU of boxes.

        Of `inputs`: "pixels" (B, 3, H, W), "sizes" (B, 2) without padding, "boxes" (B, M, 4) in input pixels, and
        "classes" (B, M), -1 for no object.
        """
        labels = []
        for classes, boxes, size in zip(inputs["classes"], inputs["boxes"], inputs["sizes"], strict=True):
            corners = boxes[classes >= 0] / size.flip(0).repeat(2)
            middle, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
            labels.append({"class_labels": classes[classes >= 0], "boxes": torch.cat((middle, sides), dim=1)})
        loss: Tensor = self.network(**self._inputs(inputs["pixels"], inputs["sizes"]), labels=labels).loss
        return loss

    def forward(self, pixels: Tensor, sizes: Tensor) -> list[Detections]:
        """Return what is found in each picture of a batch: of each query its most probable class."""
        output = self.network(**self._inputs(pixels, sizes))
        best, numbers = output.logits.float().softmax(dim=-1)[..., :-1].max(dim=-1)
        middle, sides = output.pred_boxes.float().split(2, dim=-1)
        corners = torch.cat((middle - sides / 2, middle + sides / 2), dim=-1).clamp(0, 1)
        found = []
        for picture in range(len(pixels)):
            scores, order = best[picture].sort(descending=True, stable=True)
            boxes = corners[picture, order] * sizes[picture].flip(0).repeat(2)
            found.append(Detections(boxes, scores, numbers[picture, order]))
        return found

    def _inputs(self, pixels: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """Return pixels, and for models that take it a mask (B, H, W) that is 1 within the pictures."""
        if self.network.config.model_type == "yolos":
            return {"pixel_values": pixels}
        height, width = pixels.shape[2:]
        rows = torch.arange(height, device=pixels.device)[None, :, None] < sizes[:, 0, None, None]
        columns = torch.arange(width, device=pixels.device)[None, None, :] < sizes[:, 1, None, None]
        return {"pixel_values": pixels, "pixel_mask": (rows & columns).long()}
