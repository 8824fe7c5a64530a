"""How every task begins: its settings, its device, and everything that makes a run repeat."""

from __future__ import annotations

import torch
from datasets import disable_progress_bars
from transformers.utils import logging as transformers_logging

from repro_tui import wire
from repro_tui.tasks.common import determinism
from repro_tui.tasks.common.job import Job, SettingsT


def begin(job: Job, cls: type[SettingsT]) -> tuple[SettingsT, torch.device]:
    """Return the task's settings and the device, everything seeded and the libraries quiet; tells the runtime.

    Raises TaskError for hyperparameters that are not there, and where there is no such device.
    """
    settings = job.settings(cls)
    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    device = determinism.device(job.device)
    tf32 = getattr(settings, "precision", "fp32") == "tf32"
    determinism.configure(seed=job.seed, level=job.level, threads=job.threads, tf32=tf32)
    wire.emit("runtime", **determinism.runtime(device))
    return settings, device
