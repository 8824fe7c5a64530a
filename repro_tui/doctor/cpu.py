"""Can this CPU give the results of a manifest that pins an instruction set."""

from __future__ import annotations

import platform
from pathlib import Path

from repro_tui.doctor.finding import Finding


def check(cpuinfo: Path = Path("/proc/cpuinfo")) -> Finding:
    """Look for AVX2, which the shipped manifests pin."""
    facts: dict[str, str] = {}
    for line in cpuinfo.read_text().splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    model = facts.get("model name") or platform.machine()
    flags = set(facts.get("flags", "").split())
    known = [name for name in ("avx2", "avx512f", "amx_tile") if name in flags]
    if "avx2" in flags:
        return Finding("CPU", ok=True, message=f"{model}: {', '.join(known)}")
    return Finding(
        "CPU",
        ok=False,
        message=f"{model} has no AVX2",
        remedy="Bit-identical results of manifests that pin avx2 are out of reach here; metrics can still match",
    )
