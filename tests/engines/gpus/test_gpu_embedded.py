"""What the embedded engine hands on, and how that looks from inside a real container."""

from __future__ import annotations

import ctypes.util
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repro_tui.engines import sandbox
from repro_tui.engines.base import Engine, GpuRequest
from repro_tui.engines.gpus import handing
from repro_tui.engines.gpus.discover import discover
from repro_tui.engines.gpus.handing import FOLDER, embedded_way, hand
from repro_tui.errors import EngineError, InfrastructureError
from repro_tui.images.model import Image
from tests.engines.engine_bench import Bench
from tests.engines.gpus.gpu_lab import DRIVER, LIBRARIES, MIG, FakeNvml, Lab, divided, gpu

VARIABLES = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LD_LIBRARY_PATH": f"{FOLDER}:/usr/local/nvidia/lib"}
ONE = GpuRequest(count=1)


def nvidia(lab: Lab) -> Lab:
    lab.driver().libraries().nvml = FakeNvml()
    return lab


def test_device_files_and_libraries(lab: Lab) -> None:
    lab.write("/sys/bus/pci/devices/0/class")
    handed = hand(GpuRequest(ids=("1",)), VARIABLES, nvidia(lab).ground)
    assert [target for _, target in handed.devices] == [
        "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia1",
    ]  # fmt: skip
    assert handed.devices[-1][0] == lab.root / "dev/nvidia1"
    by_target = {mount.target: mount.source.name for mount in handed.mounts}
    assert by_target[f"{FOLDER}/libcuda.so.1"] == by_target[f"{FOLDER}/libcuda.so"] == f"libcuda.so.{DRIVER}"
    assert by_target[f"{FOLDER}/libnvidia-nvvm.so.4"] == f"libnvidia-nvvm.so.{DRIVER}"
    assert by_target.pop("/sys/bus") == "bus"
    assert len(by_target) == 10
    assert all(mount.read_only for mount in handed.mounts)
    assert (
        embedded_way(lab.ground).capability
        == f"enforced (NVIDIA by device files, and the libraries of driver {DRIVER})"
    )


def test_the_tools_node_is_not_everywhere(lab: Lab) -> None:
    (nvidia(lab).root / "dev/nvidia-uvm-tools").unlink()
    assert "/dev/nvidia-uvm-tools" not in [target for _, target in hand(ONE, VARIABLES, lab.ground).devices]


def test_a_mig_device_brings_its_capabilities(lab: Lab) -> None:
    lab.driver().mig().libraries().nvml = FakeNvml([divided(), gpu(1)])
    handed = hand(GpuRequest(ids=(MIG[0],)), VARIABLES, lab.ground)
    assert [target for _, target in handed.devices][3:] == [
        "/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap12", "/dev/nvidia-caps/nvidia-cap13",
    ]  # fmt: skip


def test_a_mig_device_whose_capabilities_nobody_tells(lab: Lab) -> None:
    lab.driver((0,)).libraries()
    lab.answers["nvidia-smi --query-gpu=index"] = f"0, GPU-1, NVIDIA H100, 81559, 0, {DRIVER}, Enabled, 9.0\n"
    lab.answers["nvidia-smi -L"] = f"GPU 0: NVIDIA H100 (UUID: GPU-1)\n  MIG 3g.40gb     Device  0: (UUID: {MIG[0]})\n"
    with pytest.raises(EngineError, match="which capability nodes MIG device 0:0") as caught:
        hand(GpuRequest(every=True), VARIABLES, lab.ground)
    assert "repro-tui[gpu]" in caught.value.hint


def test_amd_needs_no_libraries(lab: Lab) -> None:
    handed = hand(GpuRequest(every=True), {}, lab.amd().ground)
    assert [target for _, target in handed.devices] == ["/dev/kfd", "/dev/dri/renderD128", "/dev/dri/renderD129"]
    assert [mount.target for mount in handed.mounts] == ["/sys/class"]
    assert handed.mounts[0].read_only


def test_amds_of_a_host_with_both_vendors(lab: Lab) -> None:
    nvidia(lab).amd(1)
    handed = hand(GpuRequest(ids=("GPU-000000000000abc0",)), {}, lab.ground)
    assert [target for _, target in handed.devices] == ["/dev/kfd", "/dev/dri/renderD128"]


def test_variables_that_would_not_find_the_driver(lab: Lab) -> None:
    with pytest.raises(EngineError, match="LD_LIBRARY_PATH has no /usr/local/nvidia/lib64") as caught:
        hand(ONE, {"LD_LIBRARY_PATH": "/elsewhere"}, nvidia(lab).ground)
    assert f"{FOLDER}:/usr/local/nvidia/lib" in caught.value.hint


def test_a_driver_without_libraries(lab: Lab) -> None:
    lab.driver().nvml = FakeNvml()
    with pytest.raises(EngineError, match=f"libcuda.so.1 of driver {DRIVER} is neither") as caught:
        hand(ONE, VARIABLES, lab.ground)
    assert "ldconfig" in caught.value.hint


def test_wsl_is_left_to_docker(lab: Lab) -> None:
    lab.node("/dev/dxg")
    lab.nvml = FakeNvml()
    with pytest.raises(EngineError, match="this is WSL") as caught:
        hand(ONE, VARIABLES, lab.ground)
    assert "Docker" in caught.value.hint


def test_a_module_that_is_not_loaded(lab: Lab) -> None:
    (nvidia(lab).root / "dev/nvidia-uvm").unlink()
    with pytest.raises(EngineError, match="/dev/nvidia-uvm is not there") as caught:
        hand(ONE, VARIABLES, lab.ground)
    assert "nvidia-modprobe" in caught.value.hint


@pytest.mark.parametrize(
    ("node", "remedy"), [("/dev/nvidia0", "NVreg_DeviceFileMode=0666"), ("/dev/nvidiactl", "chmod 666")]
)
def test_a_device_file_that_may_not_be_opened(lab: Lab, node: str, remedy: str) -> None:
    nvidia(lab)
    path = lab.root / node.lstrip("/")
    path.unlink()
    lab.write(node).chmod(0o440)
    with pytest.raises(EngineError, match=f"this user may not open {node}") as caught:
        hand(ONE, VARIABLES, lab.ground)
    assert remedy in caught.value.hint


def test_amds_groups_are_the_remedy(lab: Lab) -> None:
    lab.amd(1)
    (lab.root / "dev/dri/renderD128").unlink()
    lab.write("/dev/dri/renderD128").chmod(0o000)
    with pytest.raises(EngineError, match="may not open /dev/dri/renderD128") as caught:
        hand(ONE, {}, lab.ground)
    assert "video,render" in caught.value.hint


def test_a_host_without_gpus(lab: Lab) -> None:
    with pytest.raises(InfrastructureError, match="this host has no GPU"):
        hand(ONE, VARIABLES, lab.ground)
    assert "no GPU" in embedded_way(lab.ground, discover(lab.ground)).capability


def test_bubblewraps_options(lab: Lab, tmp_path: Path) -> None:
    """Device files come while /dev can be written, libraries into a folder of memory over the image's empty one."""
    root = tmp_path / "root"
    for name in ("proc", "dev", "tmp", "out", "usr/bin", FOLDER[1:]):
        (root / name).mkdir(parents=True)
    handed = hand(ONE, VARIABLES, nvidia(lab).ground)
    line = " ".join(
        sandbox.arguments(
            root, handed.mounts, VARIABLES, cwd="/out", tmp_bytes=1, shared_memory_bytes=1, devices=handed.devices
        )
    )
    real = lab.root.resolve() / "usr/lib/x86_64-linux-gnu"
    nodes = [
        f"--dev-bind {lab.root}/dev/{name} /dev/{name}"
        for name in ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia0")
    ]
    order = [
        "--dev /dev ", *nodes, "--remount-ro /dev ", f"--perms 0755 --tmpfs {FOLDER} ",
        f"--ro-bind {real}/libcuda.so.{DRIVER} {FOLDER}/libcuda.so ", f"--ro-bind {real}/libcuda.so.{DRIVER} {FOLDER}/libcuda.so.1 ",
        f"--remount-ro {FOLDER} ", f"--setenv LD_LIBRARY_PATH {FOLDER}:/usr/local/nvidia/lib",
    ]  # fmt: skip
    places = [line.index(each) for each in order]
    assert places == sorted(places)
    assert "/dev/nvidia1" not in line


# --- a real container -------------------------------------------------------------------------------------------------

LOOK = """
import ctypes
def names(folder):
    return sorted(os.listdir(folder))
def refused(action):
    try:
        action()
    except OSError as error:
        return error.strerror
    return "done"
folder = "/usr/local/nvidia/lib64"
with open("/dev/nvidia0", "r+b", buffering=0) as node:
    zeros = node.read(4).hex()
    node.write(b"x")
print(json.dumps({
    "dev": [name for name in names("/dev") if name.startswith("nvidia")],
    "caps": names("/dev/nvidia-caps") if os.path.isdir("/dev/nvidia-caps") else [],
    "zeros": zeros,
    "devices": [os.stat("/dev/" + name).st_rdev for name in ("nvidia0", "nvidiactl")],
    "libraries": names(folder),
    "one file": os.path.samefile(folder + "/libcuda.so.1", folder + "/libcuda.so"),
    "loaded": ctypes.CDLL("libcuda.so.1").cos is not None,
    "near": open("/sys/devices/near").read(),
    "write library": refused(lambda: open(folder + "/libcuda.so.1", "wb")),
    "new library": refused(lambda: open(folder + "/libnew.so", "wb")),
    "new node": refused(lambda: open("/dev/nvidia9", "wb")),
    "path": os.environ["LD_LIBRARY_PATH"],
}))
"""


@pytest.fixture(params=["with the folder", "without it"])
def gpu_image(request: pytest.FixtureRequest, image: Image, tmp_path: Path) -> Image:
    """The tiny image, with the empty folder for the driver's libraries and without."""
    from dataclasses import replace

    root = tmp_path / "root"
    shutil.copytree(image.root, root, symlinks=True)
    (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    (root / "usr/local/bin/tool").touch()
    if request.param == "with the folder":
        (root / FOLDER[1:]).mkdir(parents=True)
    elif sandbox.choose_overlay(root)[0] is None:
        pytest.skip(f"no overlay here: {sandbox.choose_overlay(root)[1]}")
    return replace(image, root=root)


@pytest.fixture
def handing_from(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(handing, "hand", functools.partial(handing.hand, ground=lab.ground))
    return lab


def stand_in(lab: Lab) -> None:
    """Put a library that can be loaded, the host's for mathematics, in libcuda's place."""
    name = ctypes.util.find_library("m")
    listed = subprocess.run(["ldd", sys.executable], capture_output=True, text=True, check=True).stdout
    paths = [
        word for line in listed.splitlines() if name and name in line for word in line.split() if word.startswith("/")
    ]
    if not paths:
        pytest.skip("this Python is not linked with the library that stands for libcuda")
    shutil.copy(os.path.realpath(paths[0]), lab.root / f"{LIBRARIES[1:]}/libcuda.so.{DRIVER}")


@pytest.mark.engine
@pytest.mark.parametrize("engine", ["embedded"], indirect=True)
def test_from_inside(engine: Engine, gpu_image: Image, bench: Bench, handing_from: Lab) -> None:
    nvidia(handing_from).write("/sys/devices/near", "node 0")
    stand_in(handing_from)
    bench.image = gpu_image
    seen = bench.ask(LOOK, environment=VARIABLES, gpus=ONE)
    assert seen["dev"] == ["nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidiactl"], "the second GPU is not seen"
    assert seen["zeros"] == "00000000"
    assert seen["devices"] == [os.stat("/dev/zero").st_rdev, os.stat("/dev/null").st_rdev]
    assert seen["libraries"] == sorted(
        [
            "libcuda.so", "libcuda.so.1", f"libcuda.so.{DRIVER}", f"libnvidia-gpucomp.so.{DRIVER}", "libnvidia-ml.so.1",
            f"libnvidia-ml.so.{DRIVER}", "libnvidia-nvvm.so.4", f"libnvidia-nvvm.so.{DRIVER}",
            "libnvidia-ptxjitcompiler.so.1", f"libnvidia-ptxjitcompiler.so.{DRIVER}",
        ]
    )  # fmt: skip
    assert seen["one file"]
    assert seen["loaded"], "by its name alone, as PyTorch loads it"
    assert seen["near"] == "node 0"
    for refused in ("write library", "new library", "new node"):
        assert seen[refused] == "Read-only file system"
    assert seen["path"] == VARIABLES["LD_LIBRARY_PATH"]


@pytest.mark.engine
@pytest.mark.parametrize("engine", ["embedded"], indirect=True)
def test_mig_from_inside(engine: Engine, gpu_image: Image, bench: Bench, handing_from: Lab) -> None:
    handing_from.driver().mig().libraries().nvml = FakeNvml([divided(), gpu(1)])
    handing_from.write("/sys/devices/near", "node 0")
    stand_in(handing_from)
    bench.image = gpu_image
    seen = bench.ask(LOOK, environment=VARIABLES, gpus=GpuRequest(ids=(MIG[1],)))
    assert seen["caps"] == ["nvidia-cap21", "nvidia-cap22"]


@pytest.mark.engine
@pytest.mark.parametrize("engine", ["embedded"], indirect=True)
def test_a_container_that_asks_for_none_gets_none(engine: Engine, bench: Bench, handing_from: Lab) -> None:
    nvidia(handing_from)
    assert bench.ask("print(json.dumps([name for name in os.listdir('/dev') if 'nvidia' in name]))") == []
