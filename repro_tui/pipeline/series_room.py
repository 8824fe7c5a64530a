"""How many seeds fit on this host at once: by processors, memory and GPUs. What is not known allows one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from repro_tui.engines.base import GpuRequest
from repro_tui.engines.gpus.discover import discover
from repro_tui.engines.gpus.select import busy
from repro_tui.manifest.models import Manifest
from repro_tui.pipeline.context import Context
from repro_tui.runs.words import size

_HEADROOM = 1.25
"""A seed may need that much more memory than the first one did."""


@dataclass(frozen=True, slots=True)
class Room:
    """`seeds` at once, because of `reason`; `gpus` is a share for each, empty where the manifest asks for none."""

    seeds: int
    reason: str
    gpus: tuple[tuple[str, ...], ...] = ()


def room(context: Context, peak_memory_bytes: int = 0) -> Room:
    """Return how many seeds may run at once; `peak_memory_bytes` is what a finished one needed, 0 where none has."""
    jobs = context.options.jobs
    manifest = context.loaded.manifest
    shares = _gpu_shares(context)
    if shares is not None and len(shares) < 2:
        return Room(1, "its GPUs are enough for one", shares)
    if jobs is not None:
        return Room(min(jobs, len(shares)) if shares else jobs, f"--jobs {jobs}", shares or ())
    if _elsewhere(context):
        return Room(1, "the engine is on another host, whose room is not known here (--jobs says it)")
    found = [(processors() // _cores(manifest), f"{processors()} processors for {_cores(manifest)} each")]
    needed = manifest.resources.memory or int(peak_memory_bytes * _HEADROOM)
    free = available_memory()
    if needed and free is not None:
        found.append((free // needed, f"{size(free)} of memory for {size(needed)} each"))
    elif not needed:
        found.append((1, "the memory of one is not known yet"))
    if shares is not None:
        found.append((len(shares), f"GPUs for {len(shares)}"))
    seeds, reason = min(found, key=lambda each: each[0])
    return Room(max(1, seeds), reason, shares or ())


def processors() -> int:
    """Return the processors that this process may use."""
    return len(os.sched_getaffinity(0))


def available_memory() -> int | None:
    """Return the memory that is free for more, in bytes; None where the kernel does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def _cores(manifest: Manifest) -> int:
    return max(1, round(manifest.resources.cpus or manifest.environment.threads))


def _elsewhere(context: Context) -> bool:
    chosen = context.state.engine
    return chosen is not None and chosen.host.partition("://")[0] in {"ssh", "tcp", "http", "https"}


def _gpu_shares(context: Context) -> tuple[tuple[str, ...], ...] | None:
    """Return a set of GPUs for each seed that could run at once; None where the manifest asks for none."""
    wish = context.loaded.manifest.resources.gpus
    if context.gpus is None:
        return None
    if not isinstance(wish, int) or not context.gpu_devices or not all(gpu.uuid for gpu in context.gpu_devices):
        return ((),)  # all of them, or these: there is no second share
    chosen = [gpu.uuid for gpu in context.gpu_devices]
    vendor = context.gpu_devices[0].vendor
    like = [
        gpu.uuid for gpu in discover().usable
        if gpu.vendor == vendor and gpu.uuid and gpu.uuid not in chosen and not busy(gpu)
        and gpu.name == context.gpu_devices[0].name
    ]  # fmt: skip
    every = [*chosen, *like]
    return tuple(tuple(every[start : start + wish]) for start in range(0, len(every) - wish + 1, wish))


def share_of(
    request: GpuRequest | None, shares: tuple[tuple[str, ...], ...], taken: set[tuple[str, ...]]
) -> tuple[str, ...]:
    """Return a share that nobody has."""
    return next((share for share in shares if share not in taken), ()) if request is not None else ()
