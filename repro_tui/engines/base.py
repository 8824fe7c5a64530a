"""What an engine is: a small protocol, and the plain values that cross it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from repro_tui.images.model import Image

Progress = Callable[[int, int, str], None]
"""Called with (done, total, text); bytes, total 0 where not known."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A host file or folder seen at an absolute path inside the container."""

    source: Path
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one container; None is no limit. Which ones an engine can hold is in its capabilities."""

    memory_bytes: int | None = None
    processes: int | None = None
    cpus: float | None = None
    shared_memory_bytes: int | None = None
    time_s: float | None = None


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """The GPUs that a container gets; one of the three says which."""

    count: int = 0
    """So many, whichever they are."""
    every: bool = False
    """All of the engine's host."""
    ids: tuple[str, ...] = ()
    """These: each a UUID ("GPU-…"), an index ("0") or a MIG device ("MIG-…", "0:1")."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container, in the sandbox that every engine applies to every container.

    The sandbox (no network, read-only root, no capabilities, no new privileges, not root) is therefore no option here.

    `name` is unique and deterministic (`repro-tui-<run id>-<stage>`); `run_id` labels it so that leftovers of a dead
    worker are found; `environment` is the whole environment of the process; `log` receives stdout and stderr, raw, in
    the order the kernel gave them, appended.
    """

    name: str
    run_id: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    cwd: str = "/out"
    mounts: Sequence[Mount] = ()
    limits: Limits = field(default_factory=Limits)
    network: bool = False
    gpus: GpuRequest | None = None


def tmpfs_bytes(limits: Limits) -> int:
    """Return the size of /tmp, and of /dev/shm where none is asked for: the container's memory, or half the host's."""
    return limits.memory_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class EndReason(StrEnum):
    """Why a container ended."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    OUT_OF_MEMORY = "out of memory"
    TIME_LIMIT = "time limit"
    STOPPED = "stopped"
    LOST = "lost"
    """The engine or daemon went away or the container was removed behind our back."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a container ended. `exit_code` as a shell reports it (128 + signal), None when lost."""

    reason: EndReason
    exit_code: int | None
    elapsed_s: float
    peak_memory_bytes: int = 0
    detail: str = ""

    @property
    def ok(self) -> bool:
        """True for a normal end with exit code 0."""
        return self.reason is EndReason.EXITED and self.exit_code == 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a running container uses now; CPU seconds are cumulative."""

    cpu_s: float
    memory_bytes: int
    processes: int


class Running(Protocol):
    """A started container. Every method may be called from another thread than the one that waits."""

    def wait(self, timeout_s: float | None = None) -> Outcome | None:
        """Return the outcome, or None when `timeout_s` passed first. After an outcome the log file is complete."""

    def stop(self, grace_s: float) -> None:
        """Ask it to end (SIGTERM), and kill it after `grace_s`; returns at once. `wait` then says STOPPED.

        Called again with 0 it kills what was asked before.
        """

    def usage(self) -> Usage | None:
        """Return what it uses now; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an engine works here: `reason` in words either way; `remedy` where it does not; `host` where it runs."""

    ok: bool
    reason: str
    remedy: str = ""
    host: str = "local"


class Engine(Protocol):
    """A container engine."""

    @property
    def name(self) -> str:
        """Its name, as `--engine` takes it."""

    def availability(self) -> Availability:
        """Say whether it works here, by trying it (a few seconds at most); never raises."""

    def capabilities(self) -> Mapping[str, str]:
        """What it can hold to here, in words, by name.

        Names: memory, processes, cpus, time, network, root, user, devices, gpus. A value begins with "enforced",
        "sampled" or "not available", and says why.
        """

    def prepare(self, image: Image, progress: Progress) -> None:
        """Make the image ready to start containers from; at once where it already is.

        Raises DriftError where what the engine holds is not what was assembled, InfrastructureError otherwise.
        """

    def start(self, image: Image, spec: ContainerSpec) -> Running:
        """Start a container; raises EngineError."""

    def sweep(self) -> list[str]:
        """Remove containers of workers that are dead; return their names."""
