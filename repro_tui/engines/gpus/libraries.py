"""The libraries of NVIDIA's driver that a container needs from its host: libcuda and what it loads.

They belong to the kernel driver, so no image can bring them. They are looked for where NVIDIA's container toolkit
looks: what `ldconfig -p` lists, then the folders where drivers put them, and those where an outer container or an
operator has them mounted. A library is of the driver by its name (`libcuda.so.550.54.15`), as NVIDIA's tools tell.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repro_tui.engines.gpus.model import HERE, Ground

NAMES = (
    "libcuda", "libcudadebugger", "libnvidia-allocator", "libnvidia-cfg", "libnvidia-compiler",
    "libnvidia-fatbinaryloader", "libnvidia-gpucomp", "libnvidia-ml", "libnvidia-nvvm", "libnvidia-nvvm70",
    "libnvidia-opencl", "libnvidia-pkcs11", "libnvidia-pkcs11-openssl3", "libnvidia-ptxjitcompiler",
    "libnvidia-tileiras",
)  # fmt: skip
"""For computing and for looking at the GPU; those for graphics and video are left out."""

NEEDED = "libcuda.so.1"

_FOLDERS = (
    "/usr/lib64", "/usr/lib/{arch}-linux-gnu", "/usr/lib/{arch}-linux-gnu/nvidia/current", "/lib64",
    "/lib/{arch}-linux-gnu", "/lib/{arch}-linux-gnu/nvidia/current", "/usr/lib",
    "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib",  # mounted into an outer container
    "/run/nvidia/driver/usr/lib/{arch}-linux-gnu", "/run/nvidia/driver/usr/lib64",  # a driver in a container
    "/home/kubernetes/bin/nvidia/lib64", "/opt/nvidia/lib64",
    "/run/opengl-driver/lib",  # NixOS
)  # fmt: skip
_WITHOUT_VERSION = re.compile(r"libnvidia-nvvm70\.so\.\d+")
_MACHINES = {"x86_64": 62, "aarch64": 183}


@dataclass(frozen=True, slots=True)
class Library:
    """A library file; `names` are those under which it is loaded: its own first, then the links to it."""

    path: Path
    names: tuple[str, ...]


def find(version: str, ground: Ground = HERE) -> tuple[Library, ...]:
    """Return the libraries of a driver, each once; of two with the same name the first place wins.

    Where `version` is empty the driver is not asked: whatever libcuda is found first says which version is taken.
    """
    taken: dict[str, Library] = {}
    for folder in dict.fromkeys(_folders(ground)):
        version = version or _version_in(ground.path(folder))
        for library in _in_folder(ground.path(folder), version) if version else ():
            taken.setdefault(library.names[0], library)
    return tuple(taken[name] for name in sorted(taken))


def _folders(ground: Ground) -> Iterator[str]:
    """Yield the folders of the host to look in, those that the loader's cache names first."""
    listing = ground.ask(["ldconfig", "-p"]) or ""
    for name, path in re.findall(r"^\s*(\S+) \([^)]*\) => (/\S+)$", listing, re.MULTILINE):
        if name.partition(".so")[0] in NAMES:
            yield str(Path(path).parent)
    arch = platform.machine()
    yield from (folder.format(arch=arch) for folder in _FOLDERS)
    yield from (folder for folder in ground.variables.get("LD_LIBRARY_PATH", "").split(":") if folder.startswith("/"))


def _version_in(folder: Path) -> str:
    versions = [
        found[1] for path in folder.glob("libcuda.so.*") if (found := re.search(r"\.so\.(\d+\.\d+[\d.]*)$", path.name))
    ]
    return max(versions, default="", key=lambda version: [int(part) for part in version.split(".") if part])


def _in_folder(folder: Path, version: str) -> Iterator[Library]:
    by_file: dict[Path, list[str]] = {}
    files: list[Path] = []
    for path in sorted(folder.glob("lib*.so*")):
        name = path.name
        if name.partition(".so")[0] not in NAMES:
            continue
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):  # a link to nowhere, or to itself
            continue
        of_driver = real.name.endswith(f".so.{version}") or _WITHOUT_VERSION.fullmatch(real.name)
        if not of_driver or not _of_this_machine(real):
            continue
        if real not in by_file:
            files.append(real)
        by_file.setdefault(real, [real.name])
        if name != real.name:
            by_file[real].append(name)
    for real in files:
        yield Library(real, tuple(by_file[real]))


def _of_this_machine(path: Path) -> bool:
    """Say whether a file is a 64-bit ELF file for this processor."""
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except OSError:
        return False
    return header[:5] == b"\x7fELF\x02" and int.from_bytes(header[18:20], "little") == _MACHINES.get(platform.machine())
