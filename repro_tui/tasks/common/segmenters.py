"""Networks that give every pixel a class: a light pyramid on EfficientNet-lite0, and SegFormer-type checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import AutoConfig, AutoModelForSemanticSegmentation

from repro_tui.tasks.common.job import TaskError
from repro_tui.tasks.common.pyramid import Pyramid
from repro_tui.tasks.common.scenes import IMAGENET_MEAN, IMAGENET_STD, Scale


class PanopticFpn(nn.Module):
    """The semantic branch of Panoptic FPN (Kirillov et al. 2019, arXiv:1901.02446, figure 3), made light.

    Each map of the pyramid (strides 4 to 32) is brought to stride 4 by convolution, group norm, ReLU and doubling, as
    often as it takes; their sum is classified place by place. Lighter: fewer channels, and a backbone for phones.
    """

    scale: Scale = Pyramid.scale
    multiple = Pyramid.multiple

    def __init__(self, classes: int, *, channels: int, dropout: float) -> None:
        super().__init__()
        self.pyramid = Pyramid(channels, finest=4)
        self.branches = nn.ModuleList(
            nn.Sequential(*(Raise(channels, double=number > 0) for _ in range(max(number, 1))))
            for number in range(len(self.pyramid.strides))
        )
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Conv2d(channels, classes, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits (B, classes, H / 4, W / 4) of (B, 3, H, W), H and W multiples of 32."""
        raised = [branch(each) for branch, each in zip(self.branches, self.pyramid(pixels), strict=True)]
        logits: Tensor = self.logits(self.dropout(torch.stack(raised).sum(dim=0)))
        return logits


class Raise(nn.Module):
    """Convolution, group norm, ReLU, and with `double` twice as many places a side."""

    def __init__(self, channels: int, *, double: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(channels // 8, channels)
        self.double = double

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, channels, H, W), or to (B, channels, 2 H, 2 W)."""
        x = self.norm(self.convolution(x)).relu()
        return interpolate(x, scale_factor=2, mode="bilinear", align_corners=False) if self.double else x


class Checkpoint(nn.Module):
    """A SegFormer-type checkpoint (Xie et al. 2021, arXiv:2105.15203) with a new classifier, by transformers."""

    scale: Scale = (IMAGENET_MEAN, IMAGENET_STD)
    multiple = 32

    def __init__(self, folder: Path, classes: list[str]) -> None:
        super().__init__()
        names = {"id2label": dict(enumerate(classes)), "label2id": {name: i for i, name in enumerate(classes)}}
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True, **names)
            self.network: Any = AutoModelForSemanticSegmentation.from_pretrained(
                folder, config=config, local_files_only=True, dtype=torch.float32, ignore_mismatched_sizes=True
            )
        except (OSError, ValueError, ImportError) as error:
            reason = str(error).strip().splitlines()[0]
            raise TaskError(f"{folder}: {reason}", "It needs config.json and weights of a SegFormer") from None

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits (B, classes, H / 4, W / 4) of (B, 3, H, W)."""
        logits: Tensor = self.network(pixel_values=pixels).logits
        return logits
