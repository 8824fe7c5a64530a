"""What every benchmark shares: alternating timings, medians, and figures that can fail."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure and the most it may be; `detail` says how it was measured."""

    name: str
    value: float
    limit: float
    unit: str
    detail: str

    @property
    def ok(self) -> bool:
        """True where the figure is within its limit."""
        return self.value <= self.limit


class SkipBenchmark(Exception):  # noqa: N818 - it is no error
    """What a benchmark needs is not at hand; the message says what."""


def alternate(sides: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Run the sides in turn, `rounds` times; return seconds, one list a side.

    The machine's noise falls on both sides alike, so their ratio holds where their seconds do not.
    """
    seconds: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, taken in zip(sides, seconds, strict=True):
            start = time.perf_counter()
            side()
            taken.append(time.perf_counter() - start)
    return seconds


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return "median (lowest to highest) s" for a table."""
    return f"{median(values):.{digits}f} s ({min(values):.{digits}f} to {max(values):.{digits}f})"
