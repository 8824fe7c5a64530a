"""What a log says of a GPU that went away under a run, told apart from a run that asked too much of it.

A GPU that is lost says nothing about the result, so it is no failed run and no metric that differs. A program that runs
out of the GPU's memory, or reads where it may not, fails by its own doing on any GPU.
"""

from __future__ import annotations

import re

from repro_tui.errors import EngineError, ReproError, RunFailedError

_LOST = re.compile(
    r"GPU is lost|fallen off the bus|GPU requires (reset|restart)|Reboot the system to recover this GPU|"
    r"(CUDA|HIP) error: unspecified launch failure|uncorrectable (ECC|NVLink) error|"
    r"cudaError(LaunchFailure|ECCUncorrectable|NvlinkUncorrectable)|"
    r"CUDA_ERROR_(LAUNCH_FAILED|ECC_UNCORRECTABLE|NVLINK_UNCORRECTABLE)|"
    r"reason ?: ?GPU Hang|"  # ROCm: "HW Exception by GPU node-1 … reason :GPU Hang"
    # Of the driver's Xid numbers those that mean the hardware: 13, 31, 43 and 45 are a program's own doing.
    r"Xid \([^)]*\): (48|62|64|74|79|94|95|109|110|119|120|140|143|154)\b",
    re.IGNORECASE,
)
_OUT_OF_MEMORY = re.compile(
    r"(CUDA|HIP) (error: )?out of memory|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY|"
    r"(CUBLAS|CUDNN|HIPBLAS|MIOPEN)_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


def lost(text: str) -> str:
    """Return the last line of a log that says that a GPU is lost, empty where none does."""
    return _last(_LOST, text)


def out_of_memory(text: str) -> str:
    """Return the last line of a log that says that the GPU's memory was not enough, empty where none does."""
    return _last(_OUT_OF_MEMORY, text)


def failure(what: str, log_end: str, where: str, lost_gpu: str) -> ReproError | None:
    """Return the error of a container that ended since its GPU was lost, or too small; None where it was neither.

    `lost_gpu` is what the driver said while it ran.
    """
    said = lost_gpu or lost(log_end)
    if said:
        return EngineError(
            f"the GPU was lost while {what} ran: {said}",
            where=where,
            hint="nothing is said about the result. `dmesg | grep -i xid` says more of NVIDIA's; reset the GPU "
            "(nvidia-smi --gpu-reset) or restart the machine, then run it again",
        )
    said = out_of_memory(log_end)
    if said:
        return RunFailedError(
            f"{what} ran out of the GPU's memory: {said}",
            where=where,
            hint="use a smaller batch, or a GPU with more memory; `nvidia-smi` shows whether others use this one",
        )
    return None


def _last(pattern: re.Pattern[str], text: str) -> str:
    lines = [line.rpartition("\r")[2].strip() for line in text.splitlines() if pattern.search(line)]
    return "".join(c if c.isprintable() else "?" for c in lines[-1])[:300] if lines else ""
