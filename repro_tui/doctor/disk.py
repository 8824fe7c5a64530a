"""Is there space for images, artifacts and runs."""

from __future__ import annotations

import shutil
from pathlib import Path

from repro_tui.doctor.finding import Finding

_NEEDED_BYTES = 8 << 30
"""A CPU image of PyTorch with its layers, its root folder and the wheels it came from takes about 5 GiB."""


def check(name: str, folder: Path, remedy: str) -> Finding:
    """Look at the file system on which `folder` is or would be made."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    message = f"{free / (1 << 30):.1f} GiB free at {folder}"
    if free >= _NEEDED_BYTES:
        return Finding(name, ok=True, message=message)
    return Finding(name, ok=False, message=f"{message}; a first run needs {_NEEDED_BYTES >> 30} GiB", remedy=remedy)
