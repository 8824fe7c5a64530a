"""Networks that turn pictures into representations, their heads left to the task; all give (B, width) by `forward`.

Each knows how it wants its pixels. A checkpoint folder holds their weights as "backbone.…" in model.safetensors, and
config.json says which network it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, max_pool2d, relu
from transformers import ResNetConfig, ResNetModel

from repro_tui.tasks.common import efficientnet
from repro_tui.tasks.common.job import TaskError

SMALL = 64
"""Pictures below this side get ResNet's small stem."""

PREFIX = "backbone."

WIDTHS = {"resnet18": 64, "conv-encoder": 32, "dcgan-discriminator": 32}
"""Channels of the first stage, where nothing else is asked for."""


class Backbone(nn.Module):
    """What all have in common."""

    width: int
    """Numbers in a representation."""
    scale: tuple[float, float] | None = None
    """Mean and deviation that pixels (0 to 255) are scaled by; without it those of the training split."""


class ResNet18(Backbone):
    """ResNet-18 (He et al. 2016, arXiv:1512.03385, table 1): 11,689,512 parameters with a head of 1000 classes.

    Pictures below SMALL pixels get the stem of the paper's section 4.2, a 3x3 convolution with stride 1 and no pooling,
    so that 28x28 becomes 4x4 and not 1x1. `base` channels in the first stage, 64 in the paper.
    """

    def __init__(self, channels: int, side: int, base: int) -> None:
        super().__init__()
        self.network = ResNetModel(
            ResNetConfig(
                num_channels=channels,
                embedding_size=base,
                hidden_sizes=[base, 2 * base, 4 * base, 8 * base],
                depths=[2, 2, 2, 2],
                layer_type="basic",
            )
        )
        if side < SMALL:
            stem = self.network.embedder
            stem.embedder.convolution = nn.Conv2d(channels, base, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(stem.embedder.convolution.weight, mode="fan_out", nonlinearity="relu")
            stem.pooler = nn.Identity()
        self.width = 8 * base

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the mean over all places (B, width) of the last stage, for (B, C, H, W)."""
        places: Tensor = self.network(pixels).last_hidden_state
        return places.mean(dim=(2, 3))


class EfficientNet(Backbone):
    """EfficientNet-lite0 without its classifier; see common/efficientnet.py."""

    width = 1280
    scale = (efficientnet.MEAN, efficientnet.STD)

    def __init__(self) -> None:
        super().__init__()
        self.network = efficientnet.EfficientNetLite0(classes=None)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (B, 1280) for (B, 3, H, W)."""
        return self.network.pooled(pixels)


class ConvEncoder(Backbone):
    """The encoder of the denoising autoencoder: three 3x3 convolutions with stride 2, each normed, then ReLU."""

    scale = (0.0, 255.0)

    def __init__(self, channels: int, side: int, base: int) -> None:
        super().__init__()
        sizes = (channels, base, 2 * base, 4 * base)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False) for before, after in pairwise(sizes)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for after in sizes[1:])
        self.width = 4 * base * halved(side, 3) ** 2

    def code(self, pixels: Tensor) -> Tensor:
        """Return the code (B, 4 * base, H / 8, W / 8) of (B, C, H, W), sides rounded up."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            pixels = relu(norm(convolution(pixels)))
        return pixels

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the code as one row (B, width)."""
        return self.code(pixels).flatten(1)


class Discriminator(Backbone):
    """The discriminator of a DCGAN (Radford et al. 2016, arXiv:1511.06434, section 3): strides in place of pooling.

    Leaky ReLU of slope 0.2; batch norm everywhere but in the first layer.
    """

    scale = (127.5, 127.5)

    def __init__(self, channels: int, side: int, base: int) -> None:
        super().__init__()
        sizes = (channels, base, 2 * base, 4 * base)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=number == 0)
            for number, (before, after) in enumerate(pairwise(sizes))
        )
        self.norms = nn.ModuleList([nn.Identity(), *(nn.BatchNorm2d(after) for after in sizes[2:])])
        self.score = nn.Linear(4 * base * halved(side, 3) ** 2, 1)
        self.width = sum(size * pooled(halved(side, i)) ** 2 for i, size in enumerate(sizes) if i > 0)
        for module in (*self.convolutions, self.score):
            nn.init.normal_(module.weight, std=0.02)

    def layers(self, pixels: Tensor) -> list[Tensor]:
        """Return what each of the three layers gives for (B, C, H, W): the sides halve, the channels double."""
        found = []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            pixels = leaky_relu(norm(convolution(pixels)), 0.2)
            found.append(pixels)
        return found

    def judge(self, pixels: Tensor) -> Tensor:
        """Return the logit (B,) that a picture is real and not the generator's."""
        logits: Tensor = self.score(self.layers(pixels)[-1].flatten(1))
        return logits.squeeze(1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return all layers, each max-pooled to at most 4x4 places, as one row (B, width): section 5.1 of the paper."""
        grids = [max_pool2d(maps, -(-maps.shape[-1] // 4), ceil_mode=True) for maps in self.layers(pixels)]
        return torch.cat([maps.flatten(1) for maps in grids], dim=1)


def doubling(sizes: Sequence[int], side: int) -> nn.ModuleList:
    """Return 3x3 transposed convolutions with stride 2, through channels `sizes`, that end at pictures of that side.

    They go back through the sides that as many halvings went through: `2 * before - 1` places, and one more where the
    side was even.
    """
    sides = [halved(side, times) for times in range(len(sizes) - 1, -1, -1)]
    return nn.ModuleList(
        nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=after - (2 * before - 1))
        for (inputs, outputs), (before, after) in zip(pairwise(sizes), pairwise(sides), strict=True)
    )


def pooled(side: int) -> int:
    """Return a side after pooling with the smallest windows that leave at most four places."""
    return -(-side // -(-side // 4))


def halved(side: int, times: int) -> int:
    """Return a side after so many convolutions with stride 2, which round up."""
    for _ in range(times):
        side = -(-side // 2)
    return side


def build(architecture: str, shape: Sequence[int], base: int | None) -> Backbone:
    """Return the network for pictures of `shape` (C, H, W), its weights drawn; raises TaskError for another shape."""
    channels, height, width = shape
    if architecture == "efficientnet-lite0":
        if channels != 3 or base is not None:
            raise TaskError(
                "efficientnet-lite0 takes pictures in colour and has one width", 'Leave `width` out, or use "resnet18"'
            )
        return EfficientNet()
    if height != width:
        raise TaskError(f"the pictures are {width}x{height}, {architecture} takes squares", "Set image_size")
    kind = {"resnet18": ResNet18, "conv-encoder": ConvEncoder, "dcgan-discriminator": Discriminator}[architecture]
    return kind(channels, height, base or WIDTHS[architecture])


def describe(architecture: str, shape: Sequence[int], base: int | None, **more: Any) -> dict[str, Any]:
    """Return what config.json says of a network; two with the same description take the same weights."""
    return {"architecture": architecture, "shape": list(shape), "width": base or WIDTHS.get(architecture), **more}


def save_config(folder: Path, description: dict[str, Any]) -> Path:
    """Write config.json and return its path."""
    path = folder / "config.json"
    path.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return path


def restore(backbone: Backbone, description: dict[str, Any], folder: Path) -> None:
    """Load the weights of a checkpoint folder; raises TaskError for those of another network."""
    if isinstance(backbone, EfficientNet) and not (folder / "config.json").is_file():
        efficientnet.load(backbone.network, folder)
        return
    try:
        theirs = json.loads((folder / "config.json").read_bytes())
        state = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError):
        raise TaskError(
            f"{folder} holds no config.json with its model.safetensors", "task.model names the folder with both"
        ) from None
    different = [key for key in ("architecture", "shape", "width") if theirs.get(key) != description[key]]
    if different:
        key = different[0]
        raise TaskError(
            f"{folder}: the checkpoint's {key} is {theirs.get(key)}, here it is {description[key]}",
            "Take the checkpoint's own settings, or another checkpoint",
        )
    try:
        backbone.load_state_dict(
            {name.removeprefix(PREFIX): tensor for name, tensor in state.items() if name.startswith(PREFIX)}
        )
    except RuntimeError as error:
        raise TaskError(f"{folder}: {str(error).splitlines()[0]}", "Take another checkpoint") from None
