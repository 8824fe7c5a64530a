"""What a run's manifest says that a picture of the run needs: expected values, limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from textual.message import Message

from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.state import MetricKey


@dataclass(frozen=True, slots=True)
class Band:
    """An expected value and what is still the same; an open end is infinite."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Pinned:
    """Expected values by the name of the series they are drawn into; limits, None where there are none."""

    bands: Mapping[str, Band] = field(default_factory=dict)
    cpus: float | None = None
    memory_bytes: int | None = None


class PinsRead(Message):
    """It is read."""

    def __init__(self, found: Pinned) -> None:
        super().__init__()
        self.pinned = found


def read(run: RunDirectory) -> Pinned:
    """Return what the manifest in a run directory says; nothing where it cannot be read."""
    import tomllib

    from repro_tui.manifest.models import Manifest

    try:
        manifest = Manifest.model_validate(tomllib.loads(run.manifest.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return Pinned()
    bands = {}
    for metric in manifest.expected.metrics:
        allowed = (metric.absolute or 0.0) + (metric.relative or 0.0) * abs(metric.value)
        low = float("-inf") if metric.direction == "at-most" else metric.value - allowed
        high = float("inf") if metric.direction == "at-least" else metric.value + allowed
        bands[str(MetricKey(metric.name, metric.split, stage=metric.stage or ""))] = Band(metric.value, low, high)
    return Pinned(bands, manifest.resources.cpus, manifest.resources.memory)
