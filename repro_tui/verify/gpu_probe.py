"""The GPU probe: says what PyTorch sees of the GPUs in this very container, before training.

One file, Python 3.8 or later, run by the image's Python as

    python3 gpu_probe.py FOLDER

It imports torch, computes a little on every GPU, and writes FOLDER/gpus.json: what it saw, or under "error" why it
could not, in the words of PyTorch. It ends with 0 either way, with 1 where the file could not be written.
"""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from typing import Any

SCHEMA = 1


def _driver() -> str:
    """Return the version of NVIDIA's kernel driver; AMD's is part of the kernel."""
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8", errors="replace") as file:
            found = re.search(r"Kernel Module[^\n]*?\s(\d+\.\d+(?:\.\d+)?)\s", file.read())
    except OSError:
        return ""
    return found.group(1) if found else ""


def _version(number: int) -> str:
    """Return 12.8 for 12080."""
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def _gpu(torch: Any, index: int) -> dict[str, Any]:
    """Return what is known of one GPU, after it has computed something."""
    facts = torch.cuda.get_device_properties(index)
    ones = torch.ones(64, 64, device=f"cuda:{index}")
    total = float((ones @ ones).sum().item())
    return {
        "name": facts.name,
        "uuid": str(getattr(facts, "uuid", "")),
        "memory_bytes": facts.total_memory,
        "compute_capability": getattr(facts, "gcnArchName", "").partition(":")[0] or f"{facts.major}.{facts.minor}",
        "processors": facts.multi_processor_count,
        "computes": total == 64.0**3,
    }


def look() -> dict[str, Any]:
    """Return what PyTorch sees."""
    found: dict[str, Any] = {"schema": SCHEMA, "driver": _driver(), "gpus": [], "error": ""}
    try:
        import torch
    except Exception as error:  # a broken installation raises what it likes
        found["error"] = f"torch cannot be imported: {error}"
        return found
    found["torch"] = str(torch.__version__)
    found["runtime"] = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
    if not torch.version.hip and not torch.version.cuda:
        found["runtime"] = ""
        found["error"] = f"torch {torch.__version__} is built for the CPU only"
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.cuda.init()
            found["gpus"] = [_gpu(torch, index) for index in range(torch.cuda.device_count())]
            found["bf16"] = bool(torch.cuda.is_bf16_supported())
        except Exception as error:  # RuntimeError, AssertionError, torch.AcceleratorError
            found["error"] = str(error).strip() or repr(error)
        try:
            found["driver_runtime"] = _version(int(torch._C._cuda_getDriverVersion()))  # noqa: SLF001 - no public way
        except Exception:  # not in a build for ROCm, nor without a driver
            found["driver_runtime"] = ""
        cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
        found["cudnn"] = "" if cudnn is None else str(cudnn)
    found["defaults"] = {
        "tf32_matmul": bool(torch.backends.cuda.matmul.allow_tf32),
        "tf32_cudnn": bool(torch.backends.cudnn.allow_tf32),
        "deterministic_algorithms": bool(torch.are_deterministic_algorithms_enabled()),
        "cudnn_benchmark": bool(torch.backends.cudnn.benchmark),
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""),
    }
    return found


def main(arguments: list[str]) -> int:
    """Look and write; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: gpu_probe.py FOLDER\n")
        return 2
    path = os.path.join(arguments[0], "gpus.json")
    try:
        with open(path + ".part", "w", encoding="utf-8") as file:
            json.dump(look(), file, indent=1, sort_keys=True)
        os.replace(path + ".part", path)
    except OSError as error:
        sys.stderr.write(f"gpu probe: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
