"""In which order examples are seen: a function of their lengths and a seed, nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import torch

Batch = list[int]
"""Indices of the examples of one batch."""

GROUP_BATCHES = 50
"""Batches within whose examples lengths are sorted: enough to save padding, few enough to keep the order random."""


def training_batches(lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int, grouped: bool) -> list[Batch]:
    """Return an epoch's batches over all examples, shuffled anew each epoch; the smallest one is last before shuffling.

    `lengths` (N,) in tokens. With `grouped`, the shuffled examples are sorted by length within stretches of
    GROUP_BATCHES batches, and then the batches are shuffled, so that little is padded and no epoch runs from long to
    short (Khomenko et al. 2016, arXiv:1708.05604, "sequence bucketing").
    """
    generator = torch.Generator().manual_seed((seed + epoch) % 2**63)
    order: list[int] = torch.randperm(len(lengths), generator=generator).tolist()
    if not grouped:
        return _chunks(order, batch_size)
    batches = [
        batch
        for stretch in _chunks(order, batch_size * GROUP_BATCHES)
        for batch in _chunks(sorted(stretch, key=lambda index: -lengths[index]), batch_size)
    ]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def evaluation_batches(lengths: Sequence[int], batch_size: int) -> list[Batch]:
    """Return batches over all examples, longest first: little padding, and a lack of memory shows at once."""
    return _chunks(sorted(range(len(lengths)), key=lambda index: -lengths[index]), batch_size)


def _chunks(order: Sequence[int], size: int) -> list[Batch]:
    return [list(order[start : start + size]) for start in range(0, len(order), size)]
