"""All checks, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from repro_tui.artifacts.store import default_store_path
from repro_tui.doctor import clients, cpu, disk, docker, embedded, gpu, memory, namespaces, podman, python
from repro_tui.doctor.finding import Finding


def examine(runs: Path) -> list[Finding]:
    """Run every check; one that fails itself is a finding, not an end. `runs` is the folder of the runs."""
    store = default_store_path()
    checks: Sequence[tuple[str, Callable[[], Finding]]] = (
        ("embedded engine", embedded.check),
        ("user namespaces", namespaces.check),
        ("Docker engine", docker.check),
        ("Podman engine", podman.check),
        (
            "disk of the store",
            lambda: disk.check("disk of the store", store, "repro-tui prune, or set REPRO_TUI_STORE"),
        ),
        (
            "disk of the runs",
            lambda: disk.check("disk of the runs", runs, "Remove old runs, or name another: --runs DIR"),
        ),
        ("memory and CPUs", memory.check),
        ("CPU", cpu.check),
        ("GPU", gpu.check),
        ("clients", clients.check),
        ("Python", python.check),
    )
    return [_checked(name, check) for name, check in checks]


def healthy(findings: Sequence[Finding]) -> bool:
    """Say whether at least one engine works."""
    return any(finding.ok for finding in findings if finding.engine)


def _checked(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:
        return Finding(name, ok=False, message=f"could not be looked at: {error!r}")
