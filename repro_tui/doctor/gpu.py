"""Is there a GPU. None is fine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from repro_tui.doctor.finding import Finding


def check(proc: Path = Path("/proc")) -> Finding:
    """Ask NVIDIA's driver."""
    driver = proc / "driver/nvidia/version"
    tool = shutil.which("nvidia-smi")
    if not driver.exists() and tool is None:
        return Finding("GPU", ok=True, message="none: runs use the CPU only")
    if tool is None:
        return Finding("GPU", ok=True, message="an NVIDIA driver is loaded; no container is given a GPU yet")
    try:
        done = subprocess.run(
            [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("GPU", ok=False, message=f"nvidia-smi does not answer: {error}", remedy="Check the driver")
    if done.returncode != 0:
        message = f"nvidia-smi fails: {(done.stdout + done.stderr).strip()}"
        return Finding(
            "GPU", ok=False, message=message, remedy="Load or reinstall NVIDIA's driver; the CPU still works"
        )
    gpus = "; ".join(done.stdout.strip().splitlines())
    return Finding("GPU", ok=True, message=f"{gpus}; no container is given a GPU yet")
