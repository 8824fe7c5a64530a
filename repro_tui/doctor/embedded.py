"""Does the embedded engine start containers here, with which bubblewrap, and what can it hold to."""

from __future__ import annotations

from repro_tui.doctor.finding import Finding
from repro_tui.engines.embedded import EmbeddedEngine


def check() -> Finding:
    """Start one."""
    engine = EmbeddedEngine()
    answer = engine.availability()
    details = dict(engine.capabilities()) if answer.ok else {}
    return Finding("embedded engine", answer.ok, answer.reason, answer.remedy, engine.name, details)
