"""Is this a Python that repro-tui is tested with."""

from __future__ import annotations

import platform
import sys

from repro_tui.doctor.finding import Finding


def check(version: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Compare with what the package declares."""
    message = f"{platform.python_implementation()} {'.'.join(map(str, version))} on {platform.platform(terse=True)}"
    if (3, 11) <= version <= (3, 13):
        return Finding("Python", ok=True, message=message)
    return Finding("Python", ok=False, message=message, remedy="Use Python 3.11, 3.12 or 3.13")
