"""EfficientNet-lite0, an image classifier whose feature maps also serve detection and segmentation.

Tan & Le 2019, "EfficientNet" (arXiv:1905.11946), table 1 (B0), in the authors' later lite variant: no squeeze-and-
excite, ReLU6 in place of swish, the width of stem and head never scaled. 4,652,008 parameters with 1000 classes.
Modules are named as in the published PyTorch checkpoint, so that its file loads as it is.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import pad

from repro_tui.tasks.common.job import TaskError

MEAN, STD = 127.0, 128.0
"""The published weights want pixels (0 to 255) as (pixel - MEAN) / STD, RGB, resized by bicubic interpolation."""

IMAGE_SIZE = 224
"""Pixels a side of the crops that the published weights were trained on; any size works."""

STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
"""Of each stage: blocks, kernel size, stride of the first block, expansion, channels in and out."""

FEATURES = {2: 24, 4: 40, 10: 112, 15: 320}
"""The last block of each resolution, and its channels: what `features` returns, at STRIDES."""

STRIDES = (4, 8, 16, 32)
"""Input pixels a side of one place in each of the feature maps."""

HEAD = "_fc."
"""What the names of the classifier's weights begin with."""

OURS = "backbone.network."
"""What the names of this network's weights begin with where image_classification wrote them."""


class SameConv2d(nn.Conv2d):
    """A convolution whose output has ceil(size / stride) places a side, padded as TensorFlow's "SAME" does.

    What is odd of the padding goes to the right and the bottom, which a symmetric padding cannot do at stride 2.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            inputs, outputs, kernel, stride=stride, padding=kernel // 2 if stride == 1 else 0, groups=groups, bias=False
        )

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of the method overridden
        """Map (B, C, H, W) to (B, C', ceil(H / stride), ceil(W / stride))."""
        if self.stride[0] > 1:
            kernel, stride = self.kernel_size[0], self.stride[0]
            bottom, right = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in input.shape[2:])
            input = pad(input, (right // 2, right - right // 2, bottom // 2, bottom - bottom // 2))  # noqa: A001
        return super().forward(input)


class Block(nn.Module):
    """A mobile inverted bottleneck (Sandler et al. 2018, arXiv:1801.04381): widen, filter each channel, narrow, add."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.widens = expansion > 1
        self.adds = stride == 1 and inputs == outputs
        if self.widens:
            self._expand_conv = SameConv2d(inputs, width, 1)
            self._bn0 = norm(width)
        self._depthwise_conv = SameConv2d(width, width, kernel, stride=stride, groups=width)
        self._bn1 = norm(width)
        self._project_conv = SameConv2d(width, outputs, 1)
        self._bn2 = norm(outputs)
        self.activation = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        y = self.activation(self._bn0(self._expand_conv(x))) if self.widens else x
        y = self.activation(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """The whole network: stem, 16 blocks, head. Weights are drawn as the paper's code does."""

    def __init__(self, classes: int | None = 1000, *, dropout: float = 0.2) -> None:
        """With `classes` None there is no classifier, and no `forward`."""
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, stride=2)
        self._bn0 = norm(32)
        self._blocks = nn.ModuleList(
            Block(
                inputs if i == 0 else outputs,
                outputs,
                kernel=kernel,
                stride=stride if i == 0 else 1,
                expansion=expansion,
            )
            for count, kernel, stride, expansion, inputs, outputs in STAGES
            for i in range(count)
        )
        self._conv_head = SameConv2d(320, 1280, 1)
        self._bn1 = norm(1280)
        self.activation = nn.ReLU6(inplace=True)
        for module in self.modules():
            if isinstance(module, SameConv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if classes is not None:
            self._dropout = nn.Dropout(dropout)
            self._fc = nn.Linear(1280, classes)
            nn.init.uniform_(self._fc.weight, -(classes**-0.5), classes**-0.5)
            nn.init.zeros_(self._fc.bias)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps of a batch (B, 3, H, W): (B, C, ceil(H / s), ceil(W / s)) for s in STRIDES.

        C is 24, 40, 112 and 320; a map is the output of the last block before the resolution halves.
        """
        x = self.activation(self._bn0(self._conv_stem(x)))
        maps = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in FEATURES:
                maps.append(x)
        return maps

    def pooled(self, x: Tensor) -> Tensor:
        """Return the representation (B, 1280) of a batch (B, 3, H, W) that the classifier sees."""
        x = self.activation(self._bn1(self._conv_head(self.features(x)[-1])))
        return x.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, classes) of a batch (B, 3, H, W)."""
        logits: Tensor = self._fc(self._dropout(self.pooled(x)))
        return logits


def norm(channels: int) -> nn.BatchNorm2d:
    """Return a batch norm with the constants of the paper's code (momentum in PyTorch's sense: of the new value)."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def load(model: EfficientNetLite0, folder: Path, *, head: bool = False) -> None:
    """Load the weights of a checkpoint folder into `model`, all but the classifier's unless `head`.

    The folder holds one .pth file, as published, or model.safetensors with the same names, or that of a run of
    image_classification, whose classifier has other names and is no `head`. Raises TaskError for a folder without
    either, and for weights of another network.
    """
    files = [*folder.glob("model.safetensors"), *sorted(folder.glob("*.pth"))]
    if not files:
        raise TaskError(
            f"{folder} holds no model.safetensors and no .pth file", "task.model names the folder with the weights"
        )
    wrong = TaskError(f"{files[0]} holds no weights of EfficientNet-lite0", "Name the checkpoint's own architecture")
    try:
        state: Mapping[str, Tensor] = (
            load_file(files[0]) if files[0].suffix == ".safetensors" else torch.load(files[0], weights_only=True)
        )
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError):
        raise wrong from None
    classified = {name.removeprefix(OURS): tensor for name, tensor in state.items() if name.startswith(OURS)}
    state = classified or state
    if not head:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(HEAD)}
        state |= {name: tensor for name, tensor in model.state_dict().items() if name.startswith(HEAD)}
    try:
        model.load_state_dict(state)
    except RuntimeError:
        raise wrong from None
