"""How a run's GPUs are watched, and what is taken for a lost one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from repro_tui.engines.gpus import lost
from repro_tui.engines.gpus.discover import discover
from repro_tui.engines.gpus.model import Gpu
from repro_tui.engines.gpus.samples import Watch
from repro_tui.errors import EngineError, RunFailedError
from repro_tui.events import ResourceSample, from_line
from repro_tui.runs.state import RunState
from tests.engines.gpus.gpu_lab import MIG, UUIDS, FakeNvml, Lab, divided, gpu

NAME = "NVIDIA H100 80GB HBM3"


def watching(lab: Lab, *gpus: Gpu) -> Watch:
    return Watch(gpus or discover(lab.ground).usable, lab.ground, interval_s=0.01)


def until(holds: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come to be"
        time.sleep(0.005)


def test_nvml(lab: Lab) -> None:
    nvml = lab.driver().nvml = FakeNvml([gpu(0, used=3 << 30), gpu(1, power=70_000, temperature=30)])
    watch = watching(lab, discover(lab.ground).gpus[1])
    until(lambda: watch.latest)
    assert watch.latest == (
        {
            "index": "1", "uuid": UUIDS[1], "name": NAME, "utilisation_percent": 97, "memory_bytes": 0,
            "memory_total_bytes": 80 << 30, "temperature_c": 30, "power_w": 70.0,
        },
    )  # fmt: skip
    watch.close()
    assert nvml.open == 0
    assert watch.lost == ""


def test_what_the_driver_does_not_tell_is_left_out(lab: Lab) -> None:
    lab.driver().mig().nvml = FakeNvml([divided()])
    watch = watching(lab, discover(lab.ground).usable[0])
    until(lambda: watch.latest)
    watch.close()
    assert watch.latest == (
        {
            "index": "0:0",
            "uuid": MIG[0],
            "name": f"{NAME} MIG 3g.40gb",
            "memory_bytes": 0,
            "memory_total_bytes": 40 << 30,
        },
    )


def test_a_gpu_that_nvml_loses(lab: Lab) -> None:
    nvml = lab.driver().nvml = FakeNvml()
    watch = watching(lab)
    until(lambda: len(watch.latest) == 2)
    nvml.gpus[1]["lost"] = True
    until(lambda: watch.lost)
    assert watch.lost == f"GPU 1: {NAME} ({UUIDS[1]}): NVML says: GPU is lost"
    assert [sample["index"] for sample in watch.latest] == ["0"]
    watch.close()


def test_a_device_file_that_vanishes(lab: Lab) -> None:
    lab.driver((0,))
    watch = watching(lab)
    (lab.root / "dev/nvidia0").unlink()
    watch.close()
    assert watch.lost.endswith("/dev/nvidia0 is gone"), "the last look sees it"


def test_nvidia_smi_where_nvml_is_not(lab: Lab) -> None:
    lab.driver()
    lab.answers["nvidia-smi --query-gpu=uuid"] = (
        f"{UUIDS[0]}, 45, 1024, 81559, 38, 120.5\n{UUIDS[1]}, [N/A], 0, 81559, 30, [N/A]\n"
    )
    watch = watching(lab)
    until(lambda: watch.latest)
    assert watch.latest[0] == {
        "index": "0", "uuid": UUIDS[0], "name": NAME, "utilisation_percent": 45, "memory_bytes": 1 << 30,
        "memory_total_bytes": 81559 << 20, "temperature_c": 38, "power_w": 120.5,
    }  # fmt: skip
    assert "utilisation_percent" not in watch.latest[1]
    assert "power_w" not in watch.latest[1]
    lab.answers["nvidia-smi --query-gpu=uuid"] = f"{UUIDS[0]}, [GPU is lost], [GPU is lost], 81559, [GPU is lost], 0\n"
    until(lambda: watch.lost)
    watch.close()
    assert "nvidia-smi says" in watch.lost


def test_amd(lab: Lab) -> None:
    watch = watching(lab.amd(1))
    until(lambda: watch.latest)
    watch.close()
    assert watch.latest == (
        {
            "index": "0", "uuid": "GPU-000000000000abc0", "name": "AMD Instinct MI250X", "utilisation_percent": 37,
            "memory_bytes": 1048576, "memory_total_bytes": 68702699520, "temperature_c": 41.0, "power_w": 93.0,
        },
    )  # fmt: skip


def test_whatever_is_asked_in_vain_fails_nothing(lab: Lab) -> None:
    nvml = lab.driver().nvml = FakeNvml()
    watch = watching(lab, replace(discover(lab.ground).gpus[0], uuid="GPU-unknown"))
    nvml.gpus = []
    watch.close()
    assert watch.latest == ()
    assert watch.lost == ""


def test_a_sample_survives_the_journal_and_the_state_keeps_the_newest() -> None:
    state = RunState()
    for use in (10, 20):
        event = ResourceSample(
            at=1.0, cpu_percent=1.0, memory_bytes=2, gpus=({"index": "0", "utilisation_percent": use},)
        )
        read = from_line(event.to_line())
        assert read == event
        state.apply(read)
    assert state.resources is not None
    assert state.resources.gpus[0]["utilisation_percent"] == 20


@pytest.mark.parametrize(
    "said",
    [
        "torch.AcceleratorError: CUDA error: unspecified launch failure",
        "RuntimeError: CUDA error: uncorrectable ECC error encountered",
        "CUDA error: uncorrectable NVLink error detected during the execution",
        "Unable to determine the device handle for GPU0000:01:00.0: GPU is lost.  Reboot the system to recover this GPU",
        "NVRM: GPU at PCI:0000:01:00: GPU has fallen off the bus.",
        "[ 1.0] NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>",
        "NVRM: Xid (PCI:0000:01:00): 95, Uncontained ECC error",
        "HW Exception by GPU node-1 (Agent handle: 0x5) reason :GPU Hang",
    ],
)
def test_a_lost_gpu_by_the_log(said: str) -> None:
    error = lost.failure("the training", f"step 1\n{said}\nAborted\n", "log", "")
    assert isinstance(error, EngineError)
    assert error.exit_code == 3
    assert "the GPU was lost while the training ran" in error.message
    assert said in error.message


@pytest.mark.parametrize(
    "said",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "RuntimeError: CUDA error: out of memory",
        "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2.00 GiB.",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_too_little_memory_by_the_log(said: str) -> None:
    error = lost.failure("the training", f"{said}\n", "log", "")
    assert isinstance(error, RunFailedError)
    assert error.exit_code == 4
    assert "smaller batch" in error.hint


@pytest.mark.parametrize(
    "said",
    [
        "RuntimeError: CUDA error: an illegal memory access was encountered",
        "RuntimeError: CUDA error: device-side assert triggered",
        "NVRM: Xid (PCI:0000:01:00): 31, pid=7, MMU Fault", "NVRM: Xid (PCI:0000:01:00): 13, Graphics Exception",
        "Memory access fault by GPU node-1", "MemoryError", "the bus is lost", "",
    ],
)  # fmt: skip
def test_a_programs_own_doing(said: str) -> None:
    assert lost.failure("the training", f"{said}\n", "log", "") is None


def test_the_driver_is_believed_first() -> None:
    error = lost.failure("the training", "CUDA out of memory", "log", "GPU 0: NVML says: GPU is lost")
    assert isinstance(error, EngineError)
    assert "NVML says" in error.message
