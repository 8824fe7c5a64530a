"""Which libraries of NVIDIA's driver are found, on hosts of every layout."""

from __future__ import annotations

import pytest

from repro_tui.engines.gpus.libraries import find
from tests.engines.gpus.gpu_lab import DRIVER, LIBRARIES, Lab, elf

TAKEN = {
    f"libcuda.so.{DRIVER}": {"libcuda.so", "libcuda.so.1"},
    f"libnvidia-gpucomp.so.{DRIVER}": set(),
    f"libnvidia-ml.so.{DRIVER}": {"libnvidia-ml.so.1"},
    f"libnvidia-nvvm.so.{DRIVER}": {"libnvidia-nvvm.so.4"},
    f"libnvidia-ptxjitcompiler.so.{DRIVER}": {"libnvidia-ptxjitcompiler.so.1"},
}


def names(lab: Lab, version: str = DRIVER) -> dict[str, set[str]]:
    return {library.names[0]: set(library.names[1:]) for library in find(version, lab.ground)}


def test_what_the_loader_lists(lab: Lab) -> None:
    """A library is listed by its folder, so that libraries without a line of their own come along."""
    lab.libraries("/opt/driver/lib")
    assert names(lab) == TAKEN
    assert all(library.path.parent == (lab.root / "opt/driver/lib").resolve() for library in find(DRIVER, lab.ground))


@pytest.mark.parametrize(
    "folder",
    [
        "/usr/lib64", "/usr/local/nvidia/lib64", "/run/nvidia/driver/usr/lib64", "/run/opengl-driver/lib",
        "/home/kubernetes/bin/nvidia/lib64",
    ],
)  # fmt: skip
def test_where_the_loader_lists_nothing(lab: Lab, folder: str) -> None:
    assert names(lab.libraries(folder, listed=False)) == TAKEN


def test_the_library_path_of_this_process(lab: Lab) -> None:
    lab.libraries("/apps/cuda/compat", listed=False).variables["LD_LIBRARY_PATH"] = "relative::/apps/cuda/compat"
    assert names(lab) == TAKEN


def test_another_drivers_are_left(lab: Lab) -> None:
    lab.libraries(version="535.1.2")
    assert names(lab) == {}
    lab.libraries("/run/nvidia/driver/usr/lib64", listed=False)
    assert names(lab) == TAKEN


def test_where_the_version_is_not_told_libcudas_is_taken(lab: Lab) -> None:
    assert names(lab.libraries(listed=False, folder="/usr/lib64"), "") == TAKEN


def test_other_processors_and_broken_files_are_left(lab: Lab) -> None:
    folder = "/usr/lib64"
    lab.write(f"{folder}/libcuda.so.{DRIVER}", elf(machine=3, bits=32))
    lab.write(f"{folder}/libnvidia-ml.so.{DRIVER}", b"#!/bin/sh\n")
    lab.write(f"{folder}/libnvidia-cfg.so.{DRIVER}", b"")
    (lab.root / "usr/lib64/libnvidia-nvvm.so.4").symlink_to("nowhere")
    (lab.root / "usr/lib64/libnvidia-opencl.so.1").symlink_to("libnvidia-opencl.so.1")
    assert names(lab) == {}


def test_a_link_into_a_store_is_followed(lab: Lab) -> None:
    real = lab.write(f"/nix/store/abc-nvidia/lib/libcuda.so.{DRIVER}", elf())
    for name in (f"libcuda.so.{DRIVER}", "libcuda.so.1"):
        link = lab.root / "run/opengl-driver/lib" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(real)
    (library,) = find(DRIVER, lab.ground)
    assert library.path == real.resolve()
    assert library.names == (f"libcuda.so.{DRIVER}", "libcuda.so.1")


def test_an_old_nvvm_without_the_drivers_version(lab: Lab) -> None:
    lab.write(f"{LIBRARIES}/libnvidia-nvvm70.so.4", elf())
    lab.answers["ldconfig -p"] = f"\tlibcuda.so.1 (libc6,x86-64) => {LIBRARIES}/libcuda.so.1\n"
    assert names(lab) == {"libnvidia-nvvm70.so.4": set()}
