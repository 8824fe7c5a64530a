"""What is known of a host's GPUs, and where to look for it."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NVIDIA, AMD = "nvidia", "amd"
_ASK_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one MIG device of one (a part of an NVIDIA GPU that is handed on by itself)."""

    vendor: str
    index: str
    """As its vendor's tools count: "0"; of a MIG device "0:1", its GPU's index and its own."""
    uuid: str
    """ "GPU-…" or "MIG-…"; empty where the driver does not tell."""
    name: str
    nodes: tuple[str, ...] = ()
    """Device files of its own, as paths of the host; those that all GPUs share are not in it."""
    memory_total: int = 0
    memory_used: int = 0
    compute_capability: str = ""
    """ "9.0" of NVIDIA, "gfx90a" of AMD."""
    divided: bool = False
    """In MIG mode: only its MIG devices can be used."""

    @property
    def is_mig(self) -> bool:
        """True for a part of a GPU."""
        return ":" in self.index

    def __str__(self) -> str:
        return f"{self.index}: {self.name} ({self.uuid or 'no UUID'})"


@dataclass(frozen=True, slots=True)
class Found:
    """The GPUs of a host. `problem` says why there are none where something of a driver is there."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    """Version of the kernel driver."""
    source: str = ""
    """Who said so: NVML, nvidia-smi, or the file system it was read from."""
    problem: str = ""
    remedy: str = ""

    @property
    def usable(self) -> tuple[Gpu, ...]:
        """Those that a container can be given: a divided GPU only by its parts."""
        return tuple(gpu for gpu in self.gpus if not gpu.divided)

    def __str__(self) -> str:
        return "; ".join(map(str, self.gpus)) or self.problem or "no GPU"


def _pynvml() -> Any | None:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


def _ask(command: Sequence[str]) -> str | None:
    """Return what a program prints, None where it is not there or fails."""
    program = shutil.which(command[0]) or shutil.which(command[0], path="/sbin:/usr/sbin:/usr/lib/wsl/lib")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, errors="replace", timeout=_ASK_TIMEOUT_S,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@dataclass(frozen=True, slots=True)
class Ground:
    """Where to look: this host, or in tests a folder that stands for one."""

    root: Path = Path("/")
    nvml: Callable[[], Any | None] = _pynvml
    """Returns the module pynvml, None where it is not installed."""
    ask: Callable[[Sequence[str]], str | None] = _ask
    """Runs a program: nvidia-smi, ldconfig."""
    variables: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def path(self, path: str) -> Path:
        """Return where an absolute path of the host is to be looked at."""
        return self.root / path.lstrip("/")

    def read(self, path: str) -> str:
        """Return a file's text, empty where it cannot be read."""
        try:
            return self.path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Say whether there is something at a path."""
        try:
            return self.path(path).exists()
        except OSError:
            return False


HERE = Ground()
"""This host."""
