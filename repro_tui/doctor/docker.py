"""Does a Docker daemon answer, where, and what can it hold to."""

from __future__ import annotations

from repro_tui.doctor.finding import Finding
from repro_tui.engines.docker import DockerEngine


def check() -> Finding:
    """Ask it."""
    engine = DockerEngine()
    answer = engine.availability()
    details = dict(engine.capabilities()) if answer.ok else {}
    return Finding("Docker engine", answer.ok, answer.reason, answer.remedy, engine.name, details)
