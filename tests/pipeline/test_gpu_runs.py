"""Whole runs that ask for GPUs, in the engine without containers, on hosts made up of files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.project import ENVIRONMENT, TRAIN, Finished, Project
from tests.engines.gpus.gpu_lab import UUIDS, Lab

FAKES = Path(__file__).with_name("gpu_fakes")
ROOT = Path(__file__).parents[2]
HANDS_ON = "enforced (a fake engine)"
SEEN: dict[str, Any] = {
    "schema": 1, "driver": "550.54.15", "driver_runtime": "12.4", "torch": "2.13.0", "runtime": "CUDA 12.4",
    "cudnn": "90100", "error": "", "bf16": True,
    "defaults": {"tf32_matmul": False, "tf32_cudnn": True, "deterministic_algorithms": False, "cublas_workspace": ":4096:8"},
    "gpus": [
        {"name": "NVIDIA H100 80GB HBM3", "uuid": UUIDS[0].removeprefix("GPU-"), "memory_bytes": 85_000_000_000,
         "compute_capability": "9.0", "processors": 132, "computes": True},
    ],
}  # fmt: skip
LONGER = TRAIN.replace('print("step", step)', 'print("step", step); __import__("time").sleep(0.7)')
Start = Callable[..., Project]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Write an experiment that asks for GPUs, on a host with two."""

    def begin(
        *, ask: str = "1", host: bool = True, script: str = TRAIN, capability: str = HANDS_ON, **seen: Any
    ) -> Project:
        lab = Lab(tmp_path / "host")
        lab.root.mkdir()
        if host:
            lab.driver()
        project = Project(tmp_path, script=script)
        project.variables = {
            "PYTHONPATH": f"{FAKES}:{ROOT}",
            "REPRO_TEST_GPUS": json.dumps(
                {
                    "host": str(lab.root),
                    "capability": capability,
                    "seen": {**SEEN, **seen},
                    "lost": str(tmp_path / "lost"),
                }
            ),
        }
        project.write()
        project.change("[resources]\n", f"[resources]\ngpus = {ask}\n")
        return project

    return begin


def events(project: Project, kind: str) -> list[dict[str, Any]]:
    lines = (project.only_run() / "events.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["kind"] == kind]


def asked(project: Project) -> dict[str, Any]:
    return dict(map(json.loads, (project.folder / "host/asked").read_text().splitlines()))


def failed(done: Finished, code: int, *words: str) -> dict[str, Any]:
    assert done.code == code, done
    assert "Traceback" not in done.err
    failure: dict[str, Any] = done.report["failure"]
    for word in words:
        assert word in failure["message"], failure
    assert failure["hint"], failure
    return failure


def test_a_run_with_a_gpu(start: Start) -> None:
    project = start(script=LONGER)
    done = project.run()
    assert done.code == 0, done
    assert asked(project) == {"environment": None, "gpus": [UUIDS[0]], "train": [UUIDS[0]]}, "the hashed one has none"
    host = done.report["host"]
    assert host["gpus"] == ["NVIDIA H100 80GB HBM3, 79.2 GiB, compute capability 9.0"]
    assert host["gpu_runtime"] == "CUDA 12.4, its driver up to 12.4"
    assert host["driver"] == "550.54.15"
    assert "bf16 yes" in host["gpu_math"]
    assert json.loads((project.only_run() / "gpus.json").read_text()) == SEEN
    (check,) = [check for check in done.report["checks"] if check["name"] == "GPU"]
    assert (check["status"], check["required"]) == ("match", False)
    sample = events(project, "resources")[-1]["gpus"][0]
    assert sample == {
        "index": "0", "uuid": UUIDS[0], "name": "NVIDIA H100 80GB HBM3", "utilisation_percent": 97, "memory_bytes": 0,
        "memory_total_bytes": 80 << 30, "temperature_c": 61, "power_w": 512.3,
    }  # fmt: skip


@pytest.mark.parametrize("gpus", ['["1"]', '["GPU-2222"]'])
def test_named_gpus_are_handed_on_by_uuid(start: Start, gpus: str) -> None:
    project = start(ask=gpus)
    failure = failed(project.run(), 3, f"GPU {UUIDS[1]} was asked for", "sees NVIDIA H100")
    assert "CDI" in failure["hint"]
    assert asked(project)["gpus"] == [UUIDS[1]]


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"host": False}, "the manifest asks for 1 GPU: this host has no GPU", "machine with a GPU"),
        ({"host": False, "capability": "not available (no)"}, "the manifest asks for 1 GPU: this host has no GPU", "machine"),
        ({"ask": "3"}, "the manifest asks for 3 GPUs, this host has 0: NVIDIA H100", "more GPUs"),
        ({"ask": '["GPU-9999"]'}, "there is no GPU-9999", "nvidia-smi -L"),
        ({"capability": "not available (no toolkit; to do: install it)"}, "it hands no GPU to a container: no toolkit", "install it"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_before_anything_is_downloaded(
    start: Start, given: dict[str, Any], message: str, hint: str
) -> None:
    project = start(**given)
    failure = failed(project.run(), 3, message)
    assert failure["stage"] == "resolve"
    assert hint in failure["hint"]
    begun = [event["stage"] for event in events(project, "stage_started")]
    assert set(begun) == {"resolve", "report"}
    assert not (project.folder / "host/asked").exists(), "no container was started"
    assert not list((project.folder / "store").rglob("blobs/*")), "nothing was fetched"


@pytest.mark.parametrize(
    ("seen", "message", "hint"),
    [
        (
            {"gpus": [], "error": "The NVIDIA driver on your system is too old (found version 11040)."},
            "driver on your system is too old", "The image has CUDA 12.4, the host's driver is 550.54.15 (CUDA 12.4): update the driver",
        ),
        ({"gpus": []}, "1 GPU was asked for, PyTorch in the image sees none", "repro-tui doctor"),
        ({"gpus": SEEN["gpus"] * 2}, "1 GPU was asked for, PyTorch in the image sees 2", "CUDA_VISIBLE_DEVICES"),
        ({"gpus": [{**SEEN["gpus"][0], "computes": False}]}, "computes a wrong sum", "out of use"),
        ({"gpus": [], "runtime": "", "error": "torch 2.13.0+cpu is built for the CPU only"}, "for the CPU only", "torch-cuda"),
    ],
)  # fmt: skip
def test_what_pytorch_does_not_see_ends_the_run_before_training(
    start: Start, seen: dict[str, Any], message: str, hint: str
) -> None:
    project = start(**seen)
    failure = failed(project.run(), 3, message)
    assert failure["stage"] == "environment"
    assert hint in failure["hint"]
    assert "train" not in asked(project)


BROKEN = TRAIN.replace('tell(event="phase", phase="evaluate")', 'sys.exit("SAID")')


@pytest.mark.parametrize(
    "said",
    [
        "torch.AcceleratorError: CUDA error: unspecified launch failure",
        "RuntimeError: CUDA error: uncorrectable ECC error encountered",
        "NVRM: Xid (PCI:0000:01:00): 79, pid=1, GPU has fallen off the bus.",
    ],
)
def test_a_log_that_says_that_the_gpu_was_lost(start: Start, said: str) -> None:
    failure = failed(
        start(script=BROKEN.replace("SAID", said)).run(), 3, "the GPU was lost while the training ran", said
    )
    assert "nothing is said about the result" in failure["hint"]


def test_a_gpu_too_small_is_a_failed_run(start: Start) -> None:
    said = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB"
    failure = failed(start(script=BROKEN.replace("SAID", said)).run(), 4, "ran out of the GPU's memory", "20.00 GiB")
    assert "smaller batch" in failure["hint"]


def test_an_ordinary_crash_is_neither(start: Start) -> None:
    done = start(script=BROKEN.replace("SAID", "RuntimeError: CUDA error: an illegal memory access")).run()
    failed(done, 4, "ended with exit code 1")


VANISH = TRAIN.replace('print("step", step)', "{}; __import__('time').sleep(1.2)")


@pytest.mark.parametrize(
    ("action", "said"),
    [('os.unlink("{folder}/host/dev/nvidia0")', "/dev/nvidia0 is gone"), ('open("{folder}/lost", "w")', "NVML says: GPU is lost")],
)  # fmt: skip
def test_a_gpu_that_the_driver_loses(start: Start, tmp_path: Path, action: str, said: str) -> None:
    once = f"step == 1 and {action.format(folder=tmp_path)}"
    done = start(script=VANISH.replace("{}", once)).run()
    failed(done, 3, "the GPU was lost", said)
    assert done.report["verdict"] == "FAILED"


def test_a_lost_gpu_is_no_metric_that_differs(start: Start, tmp_path: Path) -> None:
    """The training ends by itself, well and with another metric, just after the GPU was lost."""
    once = TRAIN.replace("value = sum", f'open("{tmp_path}/lost", "w"); value = 0 * sum')
    done = start(script=once).run()
    failed(done, 3, "the GPU was lost", "NVML says")


def test_no_gpus_asked_for_is_as_before(start: Start) -> None:
    project = start(ask="0", host=False, capability="not available (no)")
    done = project.run()
    assert done.code == 0, done
    assert asked(project) == {"environment": None, "train": None}
    assert "gpus" not in ENVIRONMENT["host"]
    assert "gpus" not in done.report["host"]
