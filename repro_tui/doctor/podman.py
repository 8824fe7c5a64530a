"""Does Podman work for this user, how is it set up, and what can it hold to."""

from __future__ import annotations

from repro_tui.doctor.finding import Finding
from repro_tui.engines.podman import PodmanEngine


def check() -> Finding:
    """Ask it."""
    engine = PodmanEngine()
    answer = engine.availability()
    details = dict(engine.capabilities()) if answer.ok else {}
    return Finding("Podman engine", answer.ok, answer.reason, answer.remedy, engine.name, details)
