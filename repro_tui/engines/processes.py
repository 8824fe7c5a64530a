"""The processes of a container, read from /proc: who they are, what they use, and how to end them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repro_tui.engines.base import Usage
from repro_tui.engines.workers import start_ticks

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Process:
    """A process id that is not mistaken for a later process with the same number."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process that has this id now, None where there is none."""
        ticks = start_ticks(pid)
        return None if ticks is None else cls(pid, ticks)

    def alive(self) -> bool:
        """Say whether it runs (a zombie does not)."""
        return start_ticks(self.pid) == self.start_ticks

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens where the process is gone."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def children(pid: int) -> list[int]:
    """Return the ids of the direct children, oldest first; empty where the process is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.scandir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += map(int, Path(task.path, "children").read_bytes().split())
    return found


def tree(pid: int) -> Iterator[int]:
    """Yield the process and its descendants. Orphans inside a PID namespace are children of its first process."""
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        yield current
        waiting += children(current)


def usage(pid: int) -> Usage | None:
    """Return what a process and its descendants use, None where it is gone.

    Memory is the sum of resident sets, so pages that several processes share count several times: an upper bound.
    """
    cpu_ticks = memory_bytes = processes = 0
    for member in tree(pid):
        try:
            stat = Path(f"/proc/{member}/stat").read_bytes()
        except OSError:
            continue
        fields = stat[stat.rindex(b")") + 2 :].split()
        cpu_ticks += sum(map(int, fields[11:15]))  # utime, stime, and those of children already waited for
        memory_bytes += int(fields[21]) * _PAGE_BYTES
        processes += 1
    return Usage(cpu_ticks / _TICKS_A_SECOND, memory_bytes, processes) if processes else None


def some_cpus(count: float) -> set[int]:
    """Return so many CPUs, rounded up, of those that this process may use; two workers at once rather get others."""
    allowed = sorted(os.sched_getaffinity(0))
    whole = max(1, min(len(allowed), round(count + 0.499)))
    turn = os.getpid() % len(allowed)
    return set((allowed * 2)[turn : turn + whole])


def exact_memory_bytes(pid: int) -> int:
    """Return the memory that a process and its descendants hold that cannot be dropped: anonymous and shared, by share.

    Costs milliseconds a gigabyte (smaps_rollup walks the page tables), so `usage` is asked first.
    """
    total = 0
    for member in tree(pid):
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{member}/smaps_rollup").read_bytes().splitlines():
                if line.startswith((b"Pss_Anon:", b"Pss_Shmem:")):
                    total += int(line.split()[1]) * 1024
    return total
