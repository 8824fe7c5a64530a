"""How a run's GPUs do: utilisation, memory, temperature, power; and whether one was lost.

Looked at in a thread of its own, since a driver in trouble may take its time to answer. Nothing here fails a run.
"""

from __future__ import annotations

import contextlib
import csv
import threading
from collections.abc import Callable, Sequence
from typing import Any

from repro_tui.engines.gpus.model import AMD, HERE, Gpu, Ground

Sample = dict[str, Any]
"""One GPU now, as `events.ResourceSample.gpus` describes it."""

_FAST_S, _SLOW_S = 1.0, 5.0
_LAST_LOOK_S = 3.0
_FIELDS = {
    "utilisation_percent": "utilization.gpu",
    "memory_bytes": "memory.used",
    "memory_total_bytes": "memory.total",
    "temperature_c": "temperature.gpu",
    "power_w": "power.draw",
}


class Watch:
    """Looks at some GPUs until it is closed. `latest` and `lost` may be read at any time."""

    def __init__(self, gpus: Sequence[Gpu], ground: Ground = HERE, interval_s: float | None = None) -> None:
        self._gpus = tuple(gpus)
        self._ground = ground
        self._nodes = [(gpu, node) for gpu in gpus for node in gpu.nodes if ground.exists(node)]
        self._interval_s = interval_s
        self._stop = threading.Event()
        self.latest: tuple[Sample, ...] = ()
        self.lost = ""
        """What is lost, and who said so; empty while nothing is."""
        self._thread = threading.Thread(target=self._run, name="watch GPUs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look a last time, and end; waits a moment for a driver that does not answer, and no longer."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join(_LAST_LOOK_S)

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            look, interval_s = self._looking(stack)
            while True:
                ending = self._stop.is_set()
                # Whatever the driver's package raises: a run does not fail because it cannot be looked at.
                with contextlib.suppress(Exception):
                    self.latest = look()
                self._look_at_nodes()
                if ending:
                    return
                self._stop.wait(self._interval_s or interval_s)

    def _looking(self, stack: contextlib.ExitStack) -> tuple[Callable[[], tuple[Sample, ...]], float]:
        if self._gpus and self._gpus[0].vendor == AMD:
            return self._from_sys, _FAST_S
        nvml = self._ground.nvml()
        if nvml is not None:
            with contextlib.suppress(nvml.NVMLError):
                nvml.nvmlInit()
                stack.callback(_quietly, nvml, nvml.nvmlShutdown)
                return lambda: self._from_nvml(nvml), _FAST_S
        return self._from_nvidia_smi, _SLOW_S

    def _look_at_nodes(self) -> None:
        for gpu, node in self._nodes:
            if not self._ground.exists(node):
                self._note(gpu, f"{node} is gone")

    def _note(self, gpu: Gpu, why: str) -> None:
        self.lost = self.lost or f"GPU {gpu}: {why}"

    # --- NVIDIA -------------------------------------------------------------------------------------------------------

    def _from_nvml(self, nvml: Any) -> tuple[Sample, ...]:
        gone = {nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED}
        samples = []
        for gpu in self._gpus:

            def told(name: str, *arguments: Any, gpu: Gpu = gpu) -> Any:
                try:
                    return getattr(nvml, name)(*arguments)
                except nvml.NVMLError as error:
                    if error.value in gone:
                        self._note(gpu, f"NVML says: {error}")
                    return None

            if gpu.uuid:
                handle = told("nvmlDeviceGetHandleByUUID", gpu.uuid)
            else:
                handle = told("nvmlDeviceGetHandleByIndex", int(gpu.index.partition(":")[0]))
            if handle is None:
                continue
            use = told("nvmlDeviceGetUtilizationRates", handle)
            memory = told("nvmlDeviceGetMemoryInfo", handle)
            power = told("nvmlDeviceGetPowerUsage", handle)
            samples.append(
                _sample(
                    gpu,
                    utilisation_percent=None if use is None else use.gpu,
                    memory_bytes=None if memory is None else memory.used,
                    memory_total_bytes=None if memory is None else memory.total,
                    temperature_c=told("nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU),
                    power_w=None if power is None else round(power / 1000, 1),
                )
            )
        return tuple(samples)

    def _from_nvidia_smi(self) -> tuple[Sample, ...]:
        answer = self._ground.ask(
            ["nvidia-smi", f"--query-gpu=uuid,{','.join(_FIELDS.values())}", "--format=csv,noheader,nounits"]
        )
        rows = {row[0]: row[1:] for row in csv.reader((answer or "").splitlines(), skipinitialspace=True) if row}
        samples = []
        for gpu in self._gpus:
            row = rows.get(gpu.uuid, [])
            if any("GPU is lost" in value for value in row):
                self._note(gpu, "nvidia-smi says: GPU is lost")
            elif len(row) == len(_FIELDS):
                values = {key: _number(value) for key, value in zip(_FIELDS, row, strict=True)}
                for key in ("memory_bytes", "memory_total_bytes"):
                    mebibytes = values[key]
                    values[key] = None if mebibytes is None else int(mebibytes) << 20
                samples.append(_sample(gpu, **values))
        return tuple(samples)

    # --- AMD ----------------------------------------------------------------------------------------------------------

    def _from_sys(self) -> tuple[Sample, ...]:
        samples = []
        for gpu in self._gpus:
            device = f"/sys/class/drm/{gpu.nodes[0].rpartition('/')[2]}/device"

            def told(name: str, divisor: float = 1, device: str = device) -> float | None:
                for path in sorted(self._ground.path(device).glob(name)):
                    number = _number(path.read_text(encoding="ascii", errors="replace"))
                    if number is not None:
                        return number if divisor == 1 else round(number / divisor, 1)
                return None

            samples.append(
                _sample(
                    gpu,
                    utilisation_percent=told("gpu_busy_percent"),
                    memory_bytes=told("mem_info_vram_used"),
                    memory_total_bytes=told("mem_info_vram_total"),
                    temperature_c=told("hwmon/hwmon*/temp1_input", 1000),
                    power_w=told("hwmon/hwmon*/power1_average", 1e6),
                )
            )
        return tuple(samples)


def _sample(gpu: Gpu, **values: float | None) -> Sample:
    identity = {"index": gpu.index, "uuid": gpu.uuid, "name": gpu.name}
    return {**identity, **{key: value for key, value in values.items() if value is not None}}


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:  # "[N/A]", "[Not Supported]"
        return None
    return int(number) if number.is_integer() else number


def _quietly(nvml: Any, action: Callable[[], object]) -> None:
    with contextlib.suppress(nvml.NVMLError):
        action()
