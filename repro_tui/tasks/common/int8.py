"""Linear layers in eight-bit integers, their inputs quantised as they come ("dynamic").

Vector-wise quantisation (Dettmers et al. 2022, arXiv:2208.07339, section 2; there with a part of the columns in
half precision): a scale for each row of the input and for each output of the weight, both symmetric around 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

INPUT_LEVELS = 127
"""Inputs become integers from -127 to 127."""

WEIGHT_LEVELS = 63
"""Weights become integers from -63 to 63. Processors without VNNI add two products in 16 bits, where the input counts
from 0 to 255: 2 * 255 * 63 still fits, one bit more would be cut off there and not on others. So the product is exact,
and the same on all."""


class Int8Linear(nn.Module):
    """y = x W^T + b, with W in int8 and x made int8 on the way; takes the place of a trained `nn.Linear`."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale = _scale(weight, WEIGHT_LEVELS)
        self.register_buffer("weight", torch.round(weight / scale).to(torch.int8))
        self.register_buffer("scale", scale.squeeze(-1))
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().clone())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return (..., out) in fp32 for inputs (..., in)."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        scale = _scale(rows, INPUT_LEVELS)
        levels = torch.round(rows / scale).to(torch.int8)
        product = torch._int_mm(levels, self.weight.t())  # noqa: SLF001 - (N, out) in int32; torch has no other name
        outputs = product * scale * self.scale
        if self.bias is not None:
            outputs = outputs + self.bias
        return outputs.reshape(*inputs.shape[:-1], -1)


def quantise(model: Any) -> int:
    """Put an `Int8Linear` in the place of every linear layer of the model; return how many there were."""
    found = [
        (parent, name, module)
        for parent in model.modules()
        for name, module in parent.named_children()
        if type(module) is nn.Linear
    ]
    for parent, name, module in found:
        setattr(parent, name, Int8Linear(module))
    return len(found)


def _scale(rows: torch.Tensor, levels: int) -> torch.Tensor:
    """Return (N, 1): what one level is worth in each row (N, D), so that its largest magnitude has the last one."""
    return rows.abs().amax(dim=-1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny) / levels
