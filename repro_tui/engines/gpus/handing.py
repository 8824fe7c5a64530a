"""What the embedded engine binds into a container with GPUs: device files, and the libraries of the driver."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from repro_tui.engines.base import GpuRequest, Mount
from repro_tui.engines.gpus import amd, libraries
from repro_tui.engines.gpus.discover import discover, nvidia_driver
from repro_tui.engines.gpus.model import AMD, HERE, Found, Gpu, Ground
from repro_tui.engines.gpus.requests import Way
from repro_tui.engines.gpus.select import select
from repro_tui.errors import EngineError

FOLDER = "/usr/local/nvidia/lib64"
"""Where the driver's libraries are inside. An image that has it, empty, needs no overlay."""

_SYSTEM = ("/sys/bus", "/sys/class", "/sys/devices")
"""Where the drivers' libraries read which devices there are and what they are near to; AMD's do not work without."""

_SHARED = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
_OPTIONAL = ("/dev/nvidia-uvm-tools",)
_DEVICES_REMEDY = "Load the driver's modules and make its device files: sudo nvidia-modprobe -c 0 -u"
_WSL = "this is WSL, where the GPU is /dev/dxg and the driver is mounted by Docker Desktop or NVIDIA's toolkit"
_WSL_REMEDY = "Use Docker with NVIDIA's container toolkit"


@dataclass(frozen=True, slots=True)
class Handed:
    """What a container gets: (host path, path inside) of device files, and read-only mounts."""

    devices: tuple[tuple[Path, str], ...] = ()
    mounts: tuple[Mount, ...] = ()


def embedded_way(ground: Ground = HERE, found: Found | None = None) -> Way:
    """Say how the embedded engine hands GPUs of this host on."""
    found = found or discover(ground)
    if not found.gpus:
        return Way("", found.problem or "no GPU on this host", found.remedy)
    if found.gpus[0].vendor == AMD:
        return Way("nodes", f"AMD by device files: {amd.KFD} and the render nodes")
    if ground.exists("/dev/dxg") and not ground.exists("/dev/nvidiactl"):
        return Way("", _WSL, _WSL_REMEDY)
    version = nvidia_driver(ground) or found.driver
    if not _has_cuda(libraries.find(version, ground)):
        return Way("", *_no_libraries(version))
    return Way("nodes", f"NVIDIA by device files, and the libraries of driver {version}")


def hand(
    request: GpuRequest, environment: Mapping[str, str], ground: Ground = HERE, found: Found | None = None
) -> Handed:
    """Return what a container gets for a request; raises InfrastructureError or EngineError with what to do."""
    found = found or discover(ground)
    gpus = select(request, found)
    found = replace(found, gpus=tuple(gpu for gpu in found.gpus if gpu.vendor == gpus[0].vendor))
    embedded_way(ground, found).check()
    nodes = [*shared_nodes(gpus[0], ground), *dict.fromkeys(node for gpu in gpus for node in gpu.nodes)]
    if gpus[0].vendor == AMD:
        return Handed(_checked(nodes, ground), _system(ground))
    if FOLDER not in environment.get("LD_LIBRARY_PATH", "").split(":"):
        raise EngineError(
            f"the container's LD_LIBRARY_PATH has no {FOLDER}, so CUDA would not find the driver",
            where="environment.variables",
            hint=f'Set LD_LIBRARY_PATH = "{FOLDER}:/usr/local/nvidia/lib" in the manifest, or use Docker or Podman',
        )
    for gpu in gpus:
        if gpu.is_mig and not any(node.startswith("/dev/nvidia-caps/") for node in gpu.nodes):
            raise EngineError(
                f"which capability nodes MIG device {gpu} needs is not known: {found.source} does not tell",
                where="resources.gpus",
                hint="pip install 'repro-tui[gpu]' (NVML tells), or use Docker or Podman",
            )
    driver = libraries.find(nvidia_driver(ground) or found.driver, ground)
    return Handed(_checked(nodes, ground), (*_system(ground), *_mounts(driver)))


def _system(ground: Ground) -> tuple[Mount, ...]:
    return tuple(Mount(ground.path(folder), folder) for folder in _SYSTEM if ground.exists(folder))


def _mounts(found: Sequence[libraries.Library]) -> tuple[Mount, ...]:
    """Return a mount for every name of every library; the loader sees by the file that two names are one library."""
    named = {name: library.path for library in reversed(found) for name in library.names}
    named |= {library.names[0]: library.path for library in found}
    return tuple(Mount(path, f"{FOLDER}/{name}") for name, path in sorted(named.items()))


def shared_nodes(gpu: Gpu, ground: Ground = HERE) -> list[str]:
    """Return the device files that every GPU of its vendor needs beside its own."""
    if gpu.vendor == AMD:
        return [amd.KFD]
    return [node for node in _SHARED if node not in _OPTIONAL or ground.exists(node)]


def node_problem(node: str, ground: Ground = HERE) -> str:
    """Say why this user cannot open a device file, "" where that is possible."""
    try:
        status = ground.path(node).stat()
    except OSError as error:
        return f"{node} is not there: {error.strerror}"
    return "" if _may_open(status) else f"this user may not open {node}"


def _checked(wanted: Sequence[str], ground: Ground) -> tuple[tuple[Path, str], ...]:
    for node in wanted:
        problem = node_problem(node, ground)
        if problem:
            raise EngineError(problem, where=node, hint=permission_remedy(node, ground))
    return tuple((ground.path(node), node) for node in wanted)


def permission_remedy(node: str, ground: Ground = HERE) -> str:
    """Return what to do about a device file that is not there, or that this user may not open."""
    if not ground.exists(node):
        return _DEVICES_REMEDY
    if node.startswith(("/dev/dri/", amd.KFD)):
        return "Add yourself to the groups video and render (sudo usermod -aG video,render $USER), then log in again"
    if node.startswith("/dev/nvidia-caps/"):
        return f"Let ordinary users open this MIG device: sudo chmod 666 {node}, or a udev rule that does"
    return (
        f"Let ordinary users open it: sudo chmod 666 {node}; for good, set the driver's option "
        "NVreg_DeviceFileMode=0666 in /etc/modprobe.d/nvidia.conf"
    )


def _may_open(status: os.stat_result) -> bool:
    """Say whether the caller may read and write a file without any capability, as a process inside it is."""
    mode = status.st_mode
    if status.st_uid == os.geteuid():
        return mode & 0o600 == 0o600
    if status.st_gid in {os.getegid(), *os.getgroups()}:
        return mode & 0o060 == 0o060
    return mode & 0o006 == 0o006


def _has_cuda(found: Sequence[libraries.Library]) -> bool:
    return any(libraries.NEEDED in library.names for library in found)


def _no_libraries(version: str) -> tuple[str, str]:
    return (
        f"{libraries.NEEDED} of driver {version or '(unknown)'} is neither in `ldconfig -p` nor in its usual folders",
        (
            "Install the driver's libraries in the version of its kernel module (package libcuda1, nvidia-driver-cuda) "
            "and run ldconfig; an outer container needs the driver capabilities compute and utility"
        ),
    )
