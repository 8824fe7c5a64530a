"""Which GPUs this host has: NVIDIA's through NVML, else nvidia-smi, else /proc; AMD's through the kernel's topology."""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterator
from typing import Any

from repro_tui.engines.gpus import amd
from repro_tui.engines.gpus.model import HERE, NVIDIA, Found, Gpu, Ground

_PROC = "/proc/driver/nvidia"
_FIELDS = ("index", "uuid", "name", "memory.total", "memory.used", "driver_version", "mig.mode.current", "compute_cap")
_NO_GPU = "this host has no GPU: no NVIDIA driver is loaded (no /dev/nvidiactl), no AMD GPU is there (no /dev/kfd)"
_NO_GPU_REMEDY = "Run it on a machine with a GPU; if this is one, install or load its driver"
_DRIVER_REMEDY = "Check the driver: `nvidia-smi` must list the GPUs; after an update of the driver, restart the machine"


def discover(ground: Ground = HERE) -> Found:
    """Look; never raises. NVIDIA's GPUs come first, in the order of nvidia-smi."""
    nvidia = _nvidia(ground)
    others = amd.discover(ground)
    if not others.gpus:
        return nvidia
    if not nvidia.gpus:
        return others
    return Found(
        nvidia.gpus + others.gpus,
        driver=f"NVIDIA {nvidia.driver}, AMD {others.driver}",
        source=f"{nvidia.source}, {others.source}",
    )


def nvidia_driver(ground: Ground = HERE) -> str:
    """Return the version of NVIDIA's kernel driver, empty where none is loaded."""
    found = re.search(r"Kernel Module[^\n]*?\s(\d+\.\d+(?:\.\d+)?)\s", ground.read(f"{_PROC}/version"))
    return found[1] if found else ground.read("/sys/module/nvidia/version").strip()


def _nvidia(ground: Ground) -> Found:
    if not any(map(ground.exists, ("/dev/nvidiactl", "/dev/dxg", f"{_PROC}/version"))):
        return Found(problem=_NO_GPU, remedy=_NO_GPU_REMEDY)
    why = "nvidia-ml-py is not installed"
    nvml = ground.nvml()
    if nvml is not None:
        try:
            return _from_nvml(nvml, ground)
        except nvml.NVMLError as error:
            why = f"NVML says: {error}"
    for found in (_from_nvidia_smi(ground), _from_proc(ground)):
        if found.gpus:
            return found
    driver = nvidia_driver(ground)
    loaded = f"NVIDIA's driver {driver} is loaded" if driver else "something of NVIDIA's driver is here"
    return Found(driver=driver, problem=f"{loaded}, and no GPU answers ({why})", remedy=_DRIVER_REMEDY)


# --- NVML -------------------------------------------------------------------------------------------------------------


def text(value: Any) -> str:
    """Return what NVML tells as text; older versions of its package tell bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _from_nvml(nvml: Any, ground: Ground) -> Found:
    nvml.nvmlInit()
    try:
        gpus = [gpu for index in range(nvml.nvmlDeviceGetCount()) for gpu in _gpus_of(nvml, ground, index)]
        return Found(tuple(gpus), driver=text(nvml.nvmlSystemGetDriverVersion()), source="NVML")
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _gpus_of(nvml: Any, ground: Ground, index: int) -> Iterator[Gpu]:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError:  # one that is lost, or that this user may not use
        return
    minor: int | None = None
    with contextlib.suppress(nvml.NVMLError):
        minor = nvml.nvmlDeviceGetMinorNumber(handle)
    own = (f"/dev/nvidia{minor}",) if minor is not None else ()
    divided = False
    with contextlib.suppress(nvml.NVMLError):
        divided = nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE
    capability = ""
    with contextlib.suppress(nvml.NVMLError):
        capability = ".".join(map(str, nvml.nvmlDeviceGetCudaComputeCapability(handle)))
    yield _gpu(nvml, handle, str(index), own, capability, divided=divided)
    if not divided:
        return
    with contextlib.suppress(nvml.NVMLError):
        for part in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            try:
                mig = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, part)
                instances = nvml.nvmlDeviceGetGpuInstanceId(mig), nvml.nvmlDeviceGetComputeInstanceId(mig)
            except nvml.NVMLError:  # no MIG device has this number
                continue
            nodes = own if minor is None else own + _mig_nodes(ground, minor, *instances)
            yield _gpu(nvml, mig, f"{index}:{part}", nodes, capability)


def _gpu(nvml: Any, handle: Any, index: str, nodes: tuple[str, ...], capability: str, *, divided: bool = False) -> Gpu:
    total = used = 0
    with contextlib.suppress(nvml.NVMLError):
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        total, used = int(memory.total), int(memory.used)
    return Gpu(
        NVIDIA, index, text(nvml.nvmlDeviceGetUUID(handle)), text(nvml.nvmlDeviceGetName(handle)), nodes,
        memory_total=total, memory_used=used, compute_capability=capability, divided=divided,
    )  # fmt: skip


def _mig_nodes(ground: Ground, minor: int, gpu_instance: int, compute_instance: int) -> tuple[str, ...]:
    """Return the capability nodes of a MIG device: of its GPU instance and its compute instance."""
    base = f"{_PROC}/capabilities/gpu{minor}/mig/gi{gpu_instance}"
    nodes = []
    for access in (f"{base}/access", f"{base}/ci{compute_instance}/access"):
        found = re.search(r"^DeviceFileMinor:\s*(\d+)", ground.read(access), re.MULTILINE)
        if found:
            nodes.append(f"/dev/nvidia-caps/nvidia-cap{found[1]}")
    return tuple(nodes)


# --- without NVML -----------------------------------------------------------------------------------------------------


def _from_nvidia_smi(ground: Ground) -> Found:
    answer = None
    for fields in (_FIELDS, _FIELDS[:-1], _FIELDS[:-2]):  # older drivers know fewer
        answer = ground.ask(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"])
        if answer is not None:
            break
    if answer is None:
        return Found()
    parts = _mig_of_listing(ground.ask(["nvidia-smi", "-L"]) or "")
    nodes = {gpu.uuid: gpu.nodes for gpu in _from_proc(ground).gpus}
    gpus: list[Gpu] = []
    driver = ""
    for row in csv.reader(answer.splitlines(), skipinitialspace=True):
        if len(row) < len(_FIELDS) - 2:
            continue
        values = dict(zip(_FIELDS, row, strict=False))
        index, uuid, name, driver = values["index"], values["uuid"], values["name"], values["driver_version"]
        own = nodes.get(uuid, ())
        capability = values.get("compute_cap", "")
        gpus.append(
            Gpu(
                NVIDIA, index, uuid, name, own, memory_total=_mebibytes(values["memory.total"]),
                memory_used=_mebibytes(values["memory.used"]), compute_capability=capability,
                divided=values.get("mig.mode.current") == "Enabled",
            )
        )  # fmt: skip
        gpus += [
            Gpu(NVIDIA, f"{index}:{part}", mig, f"{name} MIG {profile}", own, compute_capability=capability)
            for part, profile, mig in parts.get(uuid, ())
        ]
    return Found(tuple(gpus), driver=driver, source="nvidia-smi")


def _mig_of_listing(listing: str) -> dict[str, list[tuple[str, str, str]]]:
    """Return (number, profile, UUID) of every MIG device that `nvidia-smi -L` lists, by the UUID of its GPU."""
    parts: dict[str, list[tuple[str, str, str]]] = {}
    owner = ""
    for line in listing.splitlines():
        if gpu := re.match(r"GPU \d+: .*\(UUID: (GPU-[^)]+)\)", line):
            owner = gpu[1]
        elif mig := re.match(r"\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-[^)]+)\)", line):
            parts.setdefault(owner, []).append((mig[2], mig[1], mig[3]))
    return parts


def _from_proc(ground: Ground) -> Found:
    """Read what the kernel module tells, of the GPUs whose device file is here: a container may have some of them."""
    gpus: list[Gpu] = []
    for folder in sorted(ground.path(f"{_PROC}/gpus").glob("*")):
        information = ground.read(f"{_PROC}/gpus/{folder.name}/information")
        facts = dict(re.findall(r"^([^:\n]+?):[ \t]*(.*?)[ \t]*$", information, re.MULTILINE))
        node = f"/dev/nvidia{facts.get('Device Minor', '')}"
        if node == "/dev/nvidia" or not ground.exists(node):
            continue
        uuid = facts.get("GPU UUID", "")
        gpus.append(Gpu(NVIDIA, str(len(gpus)), "" if "?" in uuid else uuid, facts.get("Model", "NVIDIA GPU"), (node,)))
    return Found(tuple(gpus), driver=nvidia_driver(ground), source=f"{_PROC}/gpus")


def _mebibytes(value: str) -> int:
    return int(value) << 20 if value.isdecimal() else 0
