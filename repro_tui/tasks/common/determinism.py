"""Seeds, deterministic kernels and threads; and what the libraries then say of themselves.

What remains outside a process's power are the instruction set and the library versions, which the image and the
environment variables pin. See "Reproducibility" in PyTorch's notes for what the switches promise.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from repro_tui.tasks.common.job import TaskError


def device(name: str) -> torch.device:
    """Return the device of that name; raises TaskError where torch sees no such device."""
    if name == "cuda" and not torch.cuda.is_available():
        raise TaskError(
            "resources.gpus: torch sees no GPU", "repro-tui doctor says what this host and its engines have"
        )
    return torch.device(name)


def seed_all(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries draw from the legacy global generator
    torch.manual_seed(seed)


def configure(*, seed: int, level: str, threads: int, tf32: bool = False) -> None:
    """Seed everything, fix the thread count, and say whether fp32 products may be TF32 on a GPU that has it.

    At level "bitwise" only deterministic kernels are allowed; on a GPU they need the cuBLAS workspace that the
    container's environment pins (CUBLAS_WORKSPACE_CONFIG).
    """
    seed_all(seed)
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = False  # a choice by stopwatch is another one each time
    if level != "bitwise":
        return
    torch.use_deterministic_algorithms(mode=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs a pass over each buffer
    torch.backends.cudnn.deterministic = True


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
        facts |= {
            "gpu": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda,
            "tf32": torch.backends.cuda.matmul.allow_tf32,
        }
    return facts
