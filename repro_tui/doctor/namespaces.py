"""May this user make user namespaces; and if not, which setting forbids it."""

from __future__ import annotations

from pathlib import Path

from repro_tui.doctor.finding import Finding
from repro_tui.engines import user_namespaces


def check(proc: Path = Path("/proc")) -> Finding:
    """Look at the settings, then try it."""
    found = user_namespaces.obstacle(proc)
    if found is not None:
        return Finding("user namespaces", ok=False, message=found.reason, remedy=found.remedy)
    note = ""
    if user_namespaces.apparmor_restricts(proc):
        note = "; AppArmor restricts what they may do to programs with a profile, such as /usr/bin/bwrap"
    return Finding("user namespaces", ok=True, message=f"this user may make them{note}")
