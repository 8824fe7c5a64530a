"""Which GPUs are found on hosts of every kind, and what is said where there are none."""

from __future__ import annotations

import pytest

from repro_tui.engines.gpus.discover import discover
from repro_tui.engines.gpus.model import Gpu
from tests.engines.gpus.gpu_lab import DRIVER, MIG, UUIDS, FakeNvml, Lab, divided, gpu


def test_a_host_without_gpu(lab: Lab) -> None:
    found = discover(lab.ground)
    assert found.gpus == ()
    assert "no NVIDIA driver is loaded" in found.problem
    assert "no AMD GPU" in found.problem
    assert found.remedy
    assert lab.asked == [], "no program is started where there is no driver"


def test_nvml_tells_all(lab: Lab) -> None:
    nvml = lab.driver().nvml = FakeNvml([gpu(0, used=5 << 30), gpu(1, minor=3)])
    found = discover(lab.ground)
    assert found.driver == DRIVER
    assert found.source == "NVML"
    assert found.gpus == (
        Gpu("nvidia", "0", UUIDS[0], "NVIDIA H100 80GB HBM3", ("/dev/nvidia0",), 80 << 30, 5 << 30, "9.0"),
        Gpu("nvidia", "1", UUIDS[1], "NVIDIA H100 80GB HBM3", ("/dev/nvidia3",), 80 << 30, 0, "9.0"),
    )
    assert nvml.open == 0, "NVML is closed again"


def test_mig_devices_come_with_their_capability_nodes(lab: Lab) -> None:
    lab.driver().mig().nvml = FakeNvml([divided(), gpu(1)])
    found = discover(lab.ground)
    assert [each.index for each in found.gpus] == ["0", "0:0", "0:2", "1"]
    whole, first, second, other = found.gpus
    assert whole.divided
    assert not whole.is_mig
    assert (first.uuid, second.uuid) == MIG
    assert first.is_mig
    assert first.nodes == ("/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap12", "/dev/nvidia-caps/nvidia-cap13")
    assert second.nodes == ("/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap21", "/dev/nvidia-caps/nvidia-cap22")
    assert first.memory_total == 40 << 30
    assert found.usable == (first, second, other)


def test_a_lost_gpu_is_not_among_them(lab: Lab) -> None:
    lab.driver().nvml = FakeNvml([gpu(0, lost=True), gpu(1)])
    assert [each.index for each in discover(lab.ground).gpus] == ["1"]


def test_nvidia_smi_where_nvml_is_not(lab: Lab) -> None:
    lab.driver((1, 0))
    lab.answers["nvidia-smi --query-gpu=index"] = (
        f"0, {UUIDS[0]}, NVIDIA H100 80GB HBM3, 81559, 1024, {DRIVER}, Disabled, 9.0\n"
        f"1, {UUIDS[1]}, NVIDIA H100 80GB HBM3, 81559, 0, {DRIVER}, [N/A], 9.0\n"
    )
    found = discover(lab.ground)
    assert found.source == "nvidia-smi"
    assert found.driver == DRIVER
    assert [each.nodes for each in found.gpus] == [("/dev/nvidia1",), ("/dev/nvidia0",)], "by UUID, not by index"
    assert found.gpus[0].memory_total == 81559 << 20
    assert found.gpus[0].memory_used == 1 << 30
    assert found.gpus[0].compute_capability == "9.0"


def test_an_old_nvidia_smi_is_asked_for_less(lab: Lab) -> None:
    lab.driver((0,))
    query = "nvidia-smi --query-gpu=index,uuid,name,memory.total,memory.used,driver_version --format"
    lab.answers[query] = f"0, {UUIDS[0]}, Tesla K80, 11441, 0, 470.1\n"
    found = discover(lab.ground)
    assert [(each.name, each.compute_capability, each.divided) for each in found.gpus] == [("Tesla K80", "", False)]


def test_nvidia_smi_lists_mig_devices(lab: Lab) -> None:
    lab.driver((0,))
    lab.answers["nvidia-smi --query-gpu=index"] = f"0, {UUIDS[0]}, NVIDIA H100, 81559, 0, {DRIVER}, Enabled, 9.0\n"
    lab.answers["nvidia-smi -L"] = (
        f"GPU 0: NVIDIA H100 (UUID: {UUIDS[0]})\n  MIG 3g.40gb     Device  0: (UUID: {MIG[0]})\n"
        f"  MIG 3g.40gb     Device  2: (UUID: {MIG[1]})\n"
    )
    found = discover(lab.ground)
    assert [(each.index, each.uuid) for each in found.usable] == [("0:0", MIG[0]), ("0:2", MIG[1])]
    assert found.gpus[0].divided


def test_proc_alone_tells_those_whose_device_file_is_here(lab: Lab) -> None:
    """As inside an outer container that was given the second GPU only: /proc is the whole host's."""
    lab.driver((0, 1), nodes=(1,))
    found = discover(lab.ground)
    assert found.source == "/proc/driver/nvidia/gpus"
    assert [(each.index, each.uuid, each.nodes) for each in found.gpus] == [("0", UUIDS[1], ("/dev/nvidia1",))]


def test_a_driver_that_does_not_answer_is_told_with_its_words(lab: Lab) -> None:
    lab.driver(()).nvml = FakeNvml(refuses="Driver/library version mismatch")
    found = discover(lab.ground)
    assert found.gpus == ()
    assert DRIVER in found.problem
    assert "Driver/library version mismatch" in found.problem
    assert "restart the machine" in found.remedy


def test_amd(lab: Lab) -> None:
    lab.amd()
    found = discover(lab.ground)
    assert found.driver == "6.8.5"
    assert [(each.vendor, each.index, each.uuid) for each in found.gpus] == [
        ("amd", "0", "GPU-000000000000abc0"),
        ("amd", "1", "GPU-000000000000abc1"),
    ]
    first = found.gpus[0]
    assert first.nodes == ("/dev/dri/renderD128",)
    assert first.name == "AMD Instinct MI250X"
    assert first.compute_capability == "gfx90a"
    assert (first.memory_total, first.memory_used) == (68702699520, 1048576)


@pytest.mark.parametrize("gone", ["/dev/kfd", "/dev/dri/renderD128"])
def test_amd_without_its_device_files_is_none(lab: Lab, gone: str) -> None:
    lab.amd(1)
    (lab.root / gone.lstrip("/")).unlink()
    assert discover(lab.ground).gpus == ()


def test_both_vendors(lab: Lab) -> None:
    lab.amd(1).driver().nvml = FakeNvml()
    assert [each.vendor for each in discover(lab.ground).gpus] == ["nvidia", "nvidia", "amd"]
