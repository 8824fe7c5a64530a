"""Who started a container: an identity that survives the worker, so that leftovers of a dead one can be told."""

from __future__ import annotations

import functools
import os
import socket
from dataclasses import dataclass
from pathlib import Path

_SEPARATOR = "/"


@dataclass(frozen=True, slots=True)
class Worker:
    """A process of this or another machine, told apart from a later one that got the same process id."""

    node: str
    boot: str
    pid_namespace: str
    pid: int
    start_ticks: int
    """Field 22 of /proc/<pid>/stat: clock ticks between boot and the start of the process."""

    def __str__(self) -> str:
        return _SEPARATOR.join((self.node, self.boot, self.pid_namespace, str(self.pid), str(self.start_ticks)))

    @classmethod
    def parse(cls, text: str) -> Worker | None:
        """Return the worker that `str()` wrote, None where the text is not one."""
        parts = text.split(_SEPARATOR)
        if len(parts) != 5 or not parts[3].isdecimal() or not parts[4].isdecimal():
            return None
        return cls(parts[0], parts[1], parts[2], int(parts[3]), int(parts[4]))

    def is_dead(self) -> bool:
        """Say whether it certainly does not run any more; False where this process cannot see it."""
        here = current()
        if self.node != here.node:
            return False
        if self.boot != here.boot:
            return True
        if self.pid_namespace != here.pid_namespace:
            return False
        if self.start_ticks == 0:  # a system without /proc
            return not _exists(self.pid)
        return start_ticks(self.pid) != self.start_ticks


def start_ticks(pid: int) -> int | None:
    """Return when a process started (clock ticks after boot), None where there is none or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()  # the name in parentheses may hold anything
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@functools.cache
def _current(pid: int) -> Worker:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        boot, namespace = "-", "-"
    return Worker(socket.gethostname().replace(_SEPARATOR, "-"), boot, namespace, pid, start_ticks(pid) or 0)


def current() -> Worker:
    """Return this process."""
    return _current(os.getpid())
