"""Limits that the kernel does not hold: the container's processes are looked at, and it is ended past a limit."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Collection
from pathlib import Path

from repro_tui.engines import processes
from repro_tui.engines.base import EndReason, Limits, Usage

SAMPLE_S = 0.25
"""How often memory and processes are looked at."""


class Sampler:
    """Looks at a container's first process and its descendants, and remembers the most memory seen."""

    def __init__(self, pid: int, limits: Limits, held: Collection[str]) -> None:
        """`held` are the limits ("memory", "pids") that the kernel holds already."""
        self._pid = pid
        self._memory_bytes = None if "memory" in held else limits.memory_bytes
        self._processes = None if "pids" in held else limits.processes
        self.peak_bytes = 0

    def usage(self) -> Usage | None:
        """Return what is used now, None where nothing is left."""
        seen = processes.usage(self._pid)
        if seen is not None:
            self.peak_bytes = max(self.peak_bytes, seen.memory_bytes)
        return seen

    def excess(self) -> tuple[EndReason, str] | None:
        """Say which limit is passed and by how much, None where none is."""
        seen = self.usage()
        if seen is None:
            return None
        if self._memory_bytes is not None and seen.memory_bytes > self._memory_bytes:
            used = processes.exact_memory_bytes(self._pid)
            if used > self._memory_bytes:
                return EndReason.OUT_OF_MEMORY, f"used {used} bytes of {self._memory_bytes}; killed when sampled"
        if self._processes is not None and seen.processes > self._processes:
            return EndReason.SIGNALLED, f"{seen.processes} processes of {self._processes}; killed when sampled"
        return None


def host_out_of_memory_kills() -> int:
    """Return how many processes this host's kernel has killed for want of memory since it started."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def signal_name(number: int) -> str:
    """Return "SIGTERM" and its like."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
