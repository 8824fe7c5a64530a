"""What Docker and Podman are asked for when a container is to have GPUs: plain data, nothing is started here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from repro_tui.engines.base import GpuRequest
from repro_tui.engines.gpus import amd, cdi, discover
from repro_tui.engines.gpus.model import AMD, HERE, Found, Gpu, Ground
from repro_tui.engines.gpus.select import select, words
from repro_tui.errors import EngineError

_CAPABILITIES = [["gpu", "utility", "compute"]]
_FIRST_WITH_CDI = 25
_FIRST_WITH_CDI_FOLDERS = 5
_NOT, _TO_DO = "not available ", "; to do: "
_ELSEWHERE = ", of the daemon's host"
TOOLKIT_REMEDY = (
    "Install NVIDIA's container toolkit (package nvidia-container-toolkit), then: "
    "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
)


@dataclass(frozen=True, slots=True)
class Way:
    """How an engine hands GPUs on: "cdi", "nvidia" (its runtime), "nodes" (AMD's device files), "" for not at all."""

    how: str
    words: str
    remedy: str = ""
    devices: cdi.Devices = field(default_factory=cdi.Devices)

    @property
    def capability(self) -> str:
        """The text of `capabilities()["gpus"]`."""
        if self.how:
            return f"enforced ({self.words})"
        return f"{_NOT}({self.words}{_TO_DO}{self.remedy})" if self.remedy else f"{_NOT}({self.words})"

    def check(self) -> None:
        """Raise EngineError where there is none."""
        if not self.how:
            raise EngineError(
                f"this engine hands no GPU to a container: {self.words}", where="resources.gpus", hint=self.remedy
            )


def refusal(capability: str) -> tuple[str, str] | None:
    """Return why an engine hands no GPU on, and what to do, from what its capabilities say; None where it does."""
    if capability and not capability.startswith(_NOT):
        return None
    why, _, remedy = capability.removeprefix(f"{_NOT}(").removesuffix(")").partition(_TO_DO)
    return f"it hands no GPU to a container: {why or 'it does not say how'}", remedy


def is_elsewhere(capability: str) -> bool:
    """Say whether the GPUs that an engine hands on are of another host than this, where they cannot be looked at."""
    return _ELSEWHERE in capability


# --- Docker -----------------------------------------------------------------------------------------------------------


def docker_way(info: Mapping[str, Any], *, local: bool, ground: Ground = HERE, found: Found | None = None) -> Way:
    """Return how a daemon hands GPUs on, by what `docker info` says; of a local one this host is asked too."""
    if not local:
        way = _docker_nvidia(info, local=False, ground=ground)
        return replace(way, words=way.words + _ELSEWHERE)
    found = found or discover.discover(ground)
    if not found.gpus:
        return Way("", found.problem or "no GPU on this host", found.remedy)
    return _amd_way(found) if found.gpus[0].vendor == AMD else _docker_nvidia(info, local=True, ground=ground)


def _docker_nvidia(info: Mapping[str, Any], *, local: bool, ground: Ground) -> Way:
    folders = tuple(info.get("CDISpecDirs") or ())
    major = _major(str(info.get("ServerVersion", "")))
    devices = cdi.of_qualified(
        str(each.get("ID", "")) for each in info.get("DiscoveredDevices") or () if isinstance(each, Mapping)
    )
    if not devices.names and local and folders:
        devices = cdi.read(folders, ground)
    if folders and major >= _FIRST_WITH_CDI and devices.names:
        return Way("cdi", f"NVIDIA through CDI: {', '.join(devices.files) or ', '.join(folders)}", devices=devices)
    runtimes = info.get("Runtimes") or {}
    if "nvidia" in runtimes:
        return Way("nvidia", "NVIDIA through the nvidia runtime")
    if local and ground.ask(["nvidia-container-runtime-hook", "-version"]) is not None:
        return Way("nvidia", "NVIDIA through the toolkit's hook")
    if folders and major >= _FIRST_WITH_CDI:
        if not local:
            return Way("cdi", f"NVIDIA through CDI, as far as {', '.join(folders)} there names GPUs")
        return Way("", f"Docker has no nvidia runtime, and nothing in {', '.join(folders)} names a GPU", cdi.REMEDY)
    return Way("", "Docker has no nvidia runtime: NVIDIA's container toolkit is not set up for it", TOOLKIT_REMEDY)


def docker_settings(way: Way, request: GpuRequest, found: Found | None, ground: Ground = HERE) -> dict[str, Any]:
    """Return the keywords that the SDK's `create` gets. `found` None is a daemon whose host cannot be looked at."""
    gpus = select(request, found) if found is not None else ()
    if gpus and gpus[0].vendor == AMD:
        return {
            "devices": [f"{node}:{node}:rw" for node in _amd_nodes(gpus)],
            "group_add": [str(gid) for gid in _groups(gpus, ground)],
        }
    way.check()
    if way.how == "nvidia":
        return {"device_requests": [_device_request("nvidia", **_nvidia_wanted(request, found))]}
    return {"device_requests": [_device_request("cdi", ids=_cdi_wanted(way, request, found))]}


def _device_request(driver: str, *, count: int = 0, ids: Sequence[str] = ()) -> dict[str, Any]:
    """Return a request as the Engine API has it; CDI's driver takes names only, no count and no capabilities."""
    return {
        "Driver": driver,
        "Count": count,
        "DeviceIDs": list(ids),
        "Capabilities": _CAPABILITIES if driver == "nvidia" else [],
        "Options": {},
    }


def _nvidia_wanted(request: GpuRequest, found: Found | None) -> dict[str, Any]:
    if found is not None:
        return {"ids": [gpu.uuid or gpu.index for gpu in select(request, found)]}
    if request.ids:
        return {"ids": request.ids}
    return {"count": -1 if request.every else request.count}


def _cdi_wanted(way: Way, request: GpuRequest, found: Found | None) -> list[str]:
    if found is not None:
        return cdi.qualified(select(request, found), way.devices)
    names = way.devices.names
    if request.every:
        wanted = ["all"]
    elif request.ids:
        wanted = list(request.ids)
    else:
        there = sorted((name for name in names if name.isdecimal()), key=int)
        wanted = there[: request.count] if names else [str(index) for index in range(request.count)]
    missing = [name for name in wanted if names and name not in names]
    if missing or len(wanted) < request.count:
        raise EngineError(
            f"the manifest asks for {words(request)}, the daemon's host names {', '.join(sorted(names))}",
            where="resources.gpus",
            hint="Name GPUs of that host; an index or a whole UUID, as CDI names them there",
        )
    return [f"{cdi.KIND}={name}" for name in wanted]


def _major(version: str) -> int:
    found = re.match(r"(\d+)\.", version)
    return int(found[1]) if found else 0


# --- Podman -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PodmanRequest:
    """Options of podman itself, and of `podman run`."""

    options: tuple[str, ...]
    arguments: tuple[str, ...]


def podman_way(version: str, *, rootless: bool, ground: Ground = HERE, found: Found | None = None) -> Way:
    """Return how Podman on this host hands GPUs on: NVIDIA's by CDI name, AMD's by their device files."""
    found = found or discover.discover(ground)
    if not found.gpus:
        return Way("", found.problem or "no GPU on this host", found.remedy)
    if found.gpus[0].vendor == AMD:
        return _amd_way(found)
    own = [cdi.user_folder(ground)] if rootless and _takes_folders(version) else []
    folders = [*cdi.SYSTEM_FOLDERS, *own]
    devices = cdi.read(folders, ground)
    if not devices.names:
        return Way("", f"no CDI specification names an NVIDIA GPU in {', '.join(folders)}", cdi.REMEDY)
    return Way("cdi", f"NVIDIA through CDI: {', '.join(devices.files)}", devices=devices)


def podman_request(
    request: GpuRequest, version: str, *, rootless: bool, ground: Ground = HERE, found: Found | None = None
) -> PodmanRequest:
    """Return what Podman is asked for; raises EngineError where it hands no GPU on."""
    found = found or discover.discover(ground)
    gpus = select(request, found)
    found = replace(found, gpus=tuple(gpu for gpu in found.gpus if gpu.vendor == gpus[0].vendor))
    way = podman_way(version, rootless=rootless, ground=ground, found=found)
    way.check()
    if way.how == "cdi":
        folders = sorted({file.rpartition("/")[0] for file in way.devices.files})
        # Podman 5 looks only into the folders of its configuration, /etc/cdi where that has none.
        named = folders if _takes_folders(version) and folders != ["/etc/cdi"] else []
        return PodmanRequest(
            tuple(f"--cdi-spec-dir={folder}" for folder in named),
            tuple(f"--device={name}" for name in cdi.qualified(gpus, way.devices)),
        )
    # An ordinary user's groups are there only if they are kept; root names them.
    groups = ["keep-groups"] if rootless else [str(gid) for gid in _groups(gpus, ground)]
    devices = [f"--device={node}" for node in _amd_nodes(gpus)]
    return PodmanRequest((), (*devices, *(f"--group-add={group}" for group in groups)))


def _takes_folders(version: str) -> bool:
    return _major(version) >= _FIRST_WITH_CDI_FOLDERS


# --- AMD --------------------------------------------------------------------------------------------------------------


def _amd_way(found: Found) -> Way:
    return Way(
        "nodes", f"AMD through {amd.KFD} and {', '.join(gpu.nodes[0] for gpu in found.gpus if gpu.vendor == AMD)}"
    )


def _amd_nodes(gpus: Sequence[Gpu]) -> list[str]:
    return [amd.KFD, *(node for gpu in gpus for node in gpu.nodes)]


def _groups(gpus: Sequence[Gpu], ground: Ground) -> list[int]:
    """Return the groups that own the device files (video, render), as numbers: names mean something else inside."""
    groups = {ground.path(node).stat().st_gid for node in _amd_nodes(gpus)}
    return sorted(groups - {0})
