"""The GPU probe with PyTorch of every kind, and what is made of its answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from repro_tui.errors import InfrastructureError
from repro_tui.verify.gpus import GPU_PROBE, check_gpus, gpu_differences, host_facts, read_gpus

TORCH = '''
"""A stand-in for PyTorch: one GPU, or what KIND says instead."""
import types
KIND = {kind!r}
__version__ = "2.13.0+fake"
version = types.SimpleNamespace(cuda=None if KIND in ("cpu", "rocm") else "12.8", hip="6.4.1" if KIND == "rocm" else None)

class Tensor:
    def __init__(self, value): self.value = value
    def __matmul__(self, other): return self
    def sum(self): return self
    def item(self): return self.value

def ones(*shape, device):
    if KIND == "no kernel":
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")
    return Tensor(1.0 if KIND == "wrong" else 64.0 ** 3)

def init():
    if KIND == "old driver":
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")
    if KIND == "none":
        raise RuntimeError("No CUDA GPUs are available")

class Properties:
    name, total_memory, major, minor, multi_processor_count = "NVIDIA H100 80GB HBM3", 85_000_000_000, 9, 0, 132
    uuid = "11111111-aaaa-bbbb-cccc-000000000000"
    if KIND == "rocm":
        gcnArchName = "gfx90a:sramecc+:xnack-"

cuda = types.SimpleNamespace(
    init=init, device_count=lambda: 1, get_device_properties=lambda index: Properties(), is_bf16_supported=lambda: True,
)
_C = types.SimpleNamespace(_cuda_getDriverVersion=lambda: 12040)
cudnn = types.SimpleNamespace(version=lambda: 91002, is_available=lambda: True, allow_tf32=True, benchmark=False)
backends = types.SimpleNamespace(cudnn=cudnn, cuda=types.SimpleNamespace(matmul=types.SimpleNamespace(allow_tf32=False)))
are_deterministic_algorithms_enabled = lambda: False
'''
UUID = "GPU-11111111-aaaa-bbbb-cccc-000000000000"


def seen(folder: Path, kind: str) -> dict[str, Any]:
    (folder / "torch.py").write_text(TORCH.format(kind=kind))
    variables = {"PYTHONPATH": str(folder), "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, GPU_PROBE, folder], env=variables, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return read_gpus(folder / "gpus.json")


def test_one_gpu(tmp_path: Path) -> None:
    facts = seen(tmp_path, "whole")
    check_gpus(facts, count=1, uuids=[UUID])
    check_gpus(facts, count=None)
    assert facts["gpus"] == [
        {
            "name": "NVIDIA H100 80GB HBM3", "uuid": UUID.removeprefix("GPU-"), "memory_bytes": 85_000_000_000,
            "compute_capability": "9.0", "processors": 132, "computes": True,
        }
    ]  # fmt: skip
    assert facts["defaults"] == {
        "tf32_matmul": False, "tf32_cudnn": True, "deterministic_algorithms": False, "cudnn_benchmark": False,
        "cublas_workspace": ":4096:8",
    }  # fmt: skip
    host = host_facts(facts)
    assert host["gpus"] == ["NVIDIA H100 80GB HBM3, 79.2 GiB, compute capability 9.0"]
    assert host["gpu_runtime"] == "CUDA 12.8, its driver up to 12.4"
    assert host["cudnn"] == "91002"
    assert host["gpu_math"] == (
        "bf16 yes, cublas workspace :4096:8, cudnn benchmark off, deterministic algorithms off, tf32 cudnn on, tf32 matmul off"
    )


def test_amd(tmp_path: Path) -> None:
    facts = seen(tmp_path, "rocm")
    assert facts["runtime"] == "ROCm 6.4.1"
    assert facts["gpus"][0]["compute_capability"] == "gfx90a"


@pytest.mark.parametrize(
    ("kind", "message", "hint"),
    [
        ("old driver", "too old", "The image has CUDA 12.8, the host's driver is "),
        ("none", "No CUDA GPUs are available", "repro-tui doctor"),
        ("no kernel", "no kernel image", "no code for this GPU"),
        ("wrong", "computes a wrong sum", "out of use"),
        ("cpu", "built for the CPU only", "torch-cuda"),
    ],
)
def test_what_cannot_be_trained_on(tmp_path: Path, kind: str, message: str, hint: str) -> None:
    with pytest.raises(InfrastructureError, match=message) as caught:
        check_gpus(seen(tmp_path, kind), count=1)
    assert hint in caught.value.hint
    assert caught.value.where == "resources.gpus"


def test_an_image_without_pytorch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')\n")
    subprocess.run([sys.executable, GPU_PROBE, tmp_path], env={"PYTHONPATH": str(tmp_path)}, check=True)
    with pytest.raises(InfrastructureError, match=r"torch cannot be imported: libcudart\.so\.12"):
        check_gpus(read_gpus(tmp_path / "gpus.json"), count=1)


@pytest.mark.parametrize("arguments", [[], ["/nonexistent"]])
def test_a_probe_that_cannot_write_says_so(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, GPU_PROBE, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode in {1, 2}
    assert done.stderr


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"gpus": 1}', '{"gpus": [1]}', '{"gpus": [{"name": "A"}]}', "{"])
def test_an_answer_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "gpus.json").write_text(text)
    with pytest.raises(InfrastructureError):
        read_gpus(tmp_path / "gpus.json")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text('{"gpus": []}')
    (tmp_path / "gpus.json").symlink_to("elsewhere")
    with pytest.raises(InfrastructureError, match="left no answer"):
        read_gpus(tmp_path / "gpus.json")


def facts(*uuids: str) -> dict[str, Any]:
    return {"gpus": [{"name": "A", "uuid": uuid, "computes": True} for uuid in uuids], "runtime": "CUDA 12.8"}


def test_identities_are_compared_in_every_spelling() -> None:
    check_gpus(facts(UUID.removeprefix("GPU-").upper()), count=1, uuids=[UUID])
    check_gpus(facts("3333-44"), count=1, uuids=["MIG-3333-44"])
    check_gpus(facts(""), count=1, uuids=[UUID])  # an old PyTorch tells none
    check_gpus(facts(b"0".hex() * 12 + b"abc0".hex()), count=1, uuids=["GPU-000000000000abc0"])
    with pytest.raises(InfrastructureError, match=f"GPU {UUID} was asked for, PyTorch in the image sees A"):
        check_gpus(facts("22222222-aaaa-bbbb-cccc-000000000001"), count=1, uuids=[UUID])
    with pytest.raises(InfrastructureError, match="2 GPUs were asked for, PyTorch in the image sees 1"):
        check_gpus(facts(UUID), count=2)
    with pytest.raises(InfrastructureError, match="GPUs were asked for, PyTorch in the image sees none"):
        check_gpus(facts(), count=None)


def test_other_gpus_than_the_recorded_ones_are_told() -> None:
    recorded = {"gpus": ["A100"], "driver": "550", "cudnn": "9", "gpu_runtime": "CUDA 12.8", "gpu_uuids": ["x"]}
    assert gpu_differences(recorded, {**recorded, "gpu_uuids": ["y"]}) == []
    assert gpu_differences(recorded, {**recorded, "gpus": ["H100"], "driver": "570"}) == [
        "driver: 570, recorded 550", "gpus: H100, recorded A100",
    ]  # fmt: skip
    assert gpu_differences({"gpus": []}, recorded) == []


def test_a_pipe_in_the_answers_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gpus.json")
    with pytest.raises(InfrastructureError, match="left no answer"):
        read_gpus(tmp_path / "gpus.json")
