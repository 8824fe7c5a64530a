"""Seeds, deterministic kernels and threads; and what the libraries then say of themselves.

What remains outside a process's power are the instruction set and the library versions, which the image and the
environment variables pin. See "Reproducibility" in PyTorch's notes for what the switches promise.
"""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries draw from the legacy global generator
    torch.manual_seed(seed)


def configure(*, seed: int, level: str, threads: int) -> None:
    """Seed everything and fix the thread count; at level "bitwise" also allow only deterministic fp32 kernels."""
    seed_all(seed)
    torch.set_num_threads(threads)
    if level != "bitwise":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(mode=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs a pass over each buffer
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def runtime(device: torch.device) -> dict[str, Any]:
    """Return threads, CPU capability, device and versions as the libraries see them (the "runtime" event)."""
    facts: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability().lower(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "device": str(device),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        facts |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return facts
