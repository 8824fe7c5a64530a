"""Is there memory, and how many CPUs may be used."""

from __future__ import annotations

import os
from pathlib import Path

from repro_tui.doctor.finding import Finding

_NEEDED_BYTES = 4 << 30


def check(meminfo: Path = Path("/proc/meminfo")) -> Finding:
    """Look at what the kernel calls available."""
    cpus = len(os.sched_getaffinity(0))
    available = 0
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    message = f"{available / (1 << 30):.1f} GiB of memory available, {cpus} CPU{'s' if cpus > 1 else ''}"
    if available >= _NEEDED_BYTES:
        return Finding("memory and CPUs", ok=True, message=message)
    remedy = f"Close what else runs: fine-tuning a small model takes up to {_NEEDED_BYTES >> 30} GiB"
    return Finding("memory and CPUs", ok=False, message=message, remedy=remedy)
