"""Hosts made up of files: device nodes, /proc and /sys as the drivers lay them out, and a stand-in for NVML."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from repro_tui.engines.gpus.model import Ground

DRIVER = "550.54.15"
UUIDS = ("GPU-11111111-aaaa-bbbb-cccc-000000000000", "GPU-22222222-aaaa-bbbb-cccc-000000000001")
MIG = ("MIG-33333333-aaaa-bbbb-cccc-000000000000", "MIG-44444444-aaaa-bbbb-cccc-000000000001")
MACHINES = {"x86_64": 62, "aarch64": 183}
LIBRARIES = "/usr/lib/x86_64-linux-gnu"


def elf(machine: int | None = None, *, bits: int = 64) -> bytes:
    """Return the beginning of a library for a processor, this one's without any said."""
    number = MACHINES[platform.machine()] if machine is None else machine
    return (
        b"\x7fELF"
        + bytes([2 if bits == 64 else 1, 1, 1])
        + bytes(9)
        + b"\x03\0"
        + number.to_bytes(2, "little")
        + b"fake"
    )


@dataclass
class Lab:
    """A folder that stands for a host."""

    root: Path
    nvml: Any | None = None
    answers: dict[str, str] = field(default_factory=dict)
    """What programs print, by the beginning of their command line."""
    variables: dict[str, str] = field(default_factory=lambda: {"HOME": "/home/me"})
    asked: list[str] = field(default_factory=list)

    @property
    def ground(self) -> Ground:
        return Ground(self.root, nvml=lambda: self.nvml, ask=self._ask, variables=self.variables)

    def _ask(self, command: Sequence[str]) -> str | None:
        line = " ".join(command)
        self.asked.append(line)
        return next((answer for begin, answer in self.answers.items() if line.startswith(begin)), None)

    def write(self, path: str, content: str | bytes = "") -> Path:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def node(self, path: str, stand_in: str = "/dev/null") -> Path:
        """Make a device file: a link to a real one that anybody may open."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(stand_in)
        return file

    def driver(self, gpus: Sequence[int] = (0, 1), *, nodes: Sequence[int] | None = None) -> Lab:
        """Load NVIDIA's driver, with GPUs of these minors; `nodes` are those that have their device file here."""
        self.write(
            "/proc/driver/nvidia/version", f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {DRIVER}  Tue Mar\nGCC\n"
        )
        for number, minor in enumerate(gpus):
            self.write(
                f"/proc/driver/nvidia/gpus/0000:0{number + 1}:00.0/information",
                f"Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 16\nGPU UUID: \t {UUIDS[number]}\nDevice Minor: \t {minor}\n",
            )
        for name in ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"):
            self.node(f"/dev/{name}")
        for minor in gpus if nodes is None else nodes:
            self.node(f"/dev/nvidia{minor}", "/dev/zero")
        return self

    def libraries(self, folder: str = LIBRARIES, version: str = DRIVER, *, listed: bool = True) -> Lab:
        """Install the driver's libraries with their links, and beside them what is not to be taken."""
        for name, soname in (
            ("libcuda", "1"),
            ("libnvidia-ml", "1"),
            ("libnvidia-ptxjitcompiler", "1"),
            ("libnvidia-nvvm", "4"),
        ):
            real = self.write(f"{folder}/{name}.so.{version}", elf())
            (real.parent / f"{name}.so.{soname}").symlink_to(real.name)
        (self.root / folder.lstrip("/") / "libcuda.so").symlink_to("libcuda.so.1")
        self.write(f"{folder}/libnvidia-gpucomp.so.{version}", elf())
        self.write(f"{folder}/libnvidia-eglcore.so.{version}", elf())
        self.write(f"{folder}/libcudart.so.12.4", elf())
        self.write(f"{folder}/libcudadebugger.so.1.2.3", elf())
        if listed:
            self.answers["ldconfig -p"] = (
                f"3 libs found\n\tlibcuda.so.1 (libc6,x86-64) => {folder}/libcuda.so.1\n"
                f"\tlibnvidia-ml.so.1 (libc6,x86-64) => {folder}/libnvidia-ml.so.1\n\tlibz.so.1 (libc6) => /lib/libz.so.1\n"
            )
        return self

    def mig(self) -> Lab:
        """Give GPU 0 two MIG devices, in GPU instances 1 and 2."""
        base = "/proc/driver/nvidia/capabilities/gpu0/mig"
        for instance, minors in ((1, (12, 13)), (2, (21, 22))):
            self.write(f"{base}/gi{instance}/access", f"DeviceFileMinor: {minors[0]}\nDeviceFileMode: 292\n")
            self.write(f"{base}/gi{instance}/ci0/access", f"DeviceFileMinor: {minors[1]}\nDeviceFileMode: 292\n")
            for minor in minors:
                self.node(f"/dev/nvidia-caps/nvidia-cap{minor}")
        return self

    def amd(self, count: int = 2) -> Lab:
        """Load AMD's driver: node 0 of the topology is the processor."""
        self.node("/dev/kfd")
        nodes = "/sys/class/kfd/kfd/topology/nodes"
        self.write(f"{nodes}/0/properties", "cpu_cores_count 64\nsimd_count 0\ndrm_render_minor 0\n")
        self.write("/sys/module/amdgpu/version", "6.8.5\n")
        for number in range(count):
            minor = 128 + number
            self.write(
                f"{nodes}/{number + 1}/properties",
                f"cpu_cores_count 0\nsimd_count 440\ngfx_target_version 90010\ndrm_render_minor {minor}\nunique_id {0xABC0 + number}\n",
            )
            self.write(
                f"{nodes}/{number + 1}/mem_banks/0/properties", "heap_type 1\nsize_in_bytes 68702699520\nwidth 4096\n"
            )
            device = f"/sys/class/drm/renderD{minor}/device"
            self.write(f"{device}/product_name", "AMD Instinct MI250X\n")
            self.write(f"{device}/gpu_busy_percent", "37\n")
            self.write(f"{device}/mem_info_vram_used", "1048576\n")
            self.write(f"{device}/mem_info_vram_total", "68702699520\n")
            self.write(f"{device}/hwmon/hwmon3/temp1_input", "41000\n")
            self.write(f"{device}/hwmon/hwmon3/power1_average", "93000000\n")
            self.node(f"/dev/dri/renderD{minor}")
        return self

    def cdi(self, folder: str = "/etc/cdi", names: Sequence[str] = ("0", "1", "all", *UUIDS)) -> Lab:
        """Write a specification as nvidia-ctk does."""
        devices = "".join(
            f'    - containerEdits:\n        deviceNodes:\n            - path: /dev/nvidia0\n      name: "{name}"\n'
            for name in names
        )
        self.write(
            f"{folder}/nvidia.yaml",
            f"---\ncdiVersion: 0.5.0\ncontainerEdits:\n    env:\n        - NVIDIA_VISIBLE_DEVICES=void\ndevices:\n{devices}kind: nvidia.com/gpu\n",
        )
        return self


class NvmlError(Exception):
    """NVML's error, with its number."""

    def __init__(self, value: int, text: str = "") -> None:
        super().__init__(text or f"error {value}")
        self.value = value


class FakeNvml(SimpleNamespace):
    """The part of the module pynvml that is used; `gpus` are its answers, each a dictionary."""

    NVMLError = NvmlError
    NVML_ERROR_GPU_IS_LOST = 15
    NVML_ERROR_RESET_REQUIRED = 16
    NVML_DEVICE_MIG_ENABLE = 1
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, gpus: Sequence[dict[str, Any]] | None = None, *, refuses: str = "") -> None:
        super().__init__()
        self.gpus = list(gpus if gpus is not None else (gpu(0), gpu(1)))
        self.refuses = refuses
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's names
        if self.refuses:
            raise NvmlError(9, self.refuses)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlSystemGetDriverVersion(self) -> bytes:  # noqa: N802 - old versions of the package tell bytes
        return DRIVER.encode()

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        return self._alive(self.gpus[index])

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> dict[str, Any]:  # noqa: N802
        for each in self.gpus:
            for handle in (each, *each.get("parts", {}).values()):
                if handle["uuid"] == uuid:
                    return self._alive(handle)
        raise NvmlError(6, "Not Found")

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: dict[str, Any]) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: dict[str, Any], index: int) -> Any:  # noqa: N802
        if index not in handle["parts"]:
            raise NvmlError(6, "Not Found")
        return handle["parts"][index]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        keys = {
            "nvmlDeviceGetUUID": "uuid", "nvmlDeviceGetName": "name", "nvmlDeviceGetMinorNumber": "minor",
            "nvmlDeviceGetMigMode": "mig", "nvmlDeviceGetCudaComputeCapability": "capability",
            "nvmlDeviceGetMemoryInfo": "memory", "nvmlDeviceGetUtilizationRates": "use",
            "nvmlDeviceGetTemperature": "temperature", "nvmlDeviceGetPowerUsage": "power",
            "nvmlDeviceGetGpuInstanceId": "gi", "nvmlDeviceGetComputeInstanceId": "ci",
        }  # fmt: skip
        if name not in keys:
            raise AttributeError(name)

        def told(handle: dict[str, Any], *arguments: Any) -> Any:
            self._alive(handle)
            if keys[name] not in handle:
                raise NvmlError(3, "Not Supported")
            return handle[keys[name]]

        return told

    @staticmethod
    def _alive(handle: dict[str, Any]) -> dict[str, Any]:
        if handle.get("lost"):
            raise NvmlError(15, "GPU is lost")
        return handle


def gpu(index: int, *, used: int = 0, **more: Any) -> dict[str, Any]:
    """Return NVML's answers for a whole H100."""
    return {
        "uuid": UUIDS[index], "name": "NVIDIA H100 80GB HBM3", "minor": index, "mig": (0, 0), "capability": (9, 0),
        "memory": SimpleNamespace(total=80 << 30, used=used), "use": SimpleNamespace(gpu=97, memory=40),
        "temperature": 61, "power": 512_345, **more,
    }  # fmt: skip


def divided() -> dict[str, Any]:
    """Return NVML's answers for an H100 with two MIG devices, which have no number 1 between them."""
    parts = {
        number: {"uuid": MIG[place], "name": "NVIDIA H100 80GB HBM3 MIG 3g.40gb", "gi": place + 1, "ci": 0,
                 "memory": SimpleNamespace(total=40 << 30, used=0)}
        for place, number in enumerate((0, 2))
    }  # fmt: skip
    return gpu(0, mig=(1, 1), parts=parts)
