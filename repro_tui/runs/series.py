"""A series of numbers over steps, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

CAPACITY = 1024


class Series:
    """Keeps at most CAPACITY points of however many came, evenly spaced, and always the last one.

    When it is full every second point goes and the stride doubles: the same points in give the same points kept.
    """

    def __init__(self) -> None:
        self._points: list[tuple[int, float]] = []
        self._stride = 1
        self._seen = 0
        self._last: tuple[int, float] | None = None

    def add(self, step: int, value: float) -> None:
        """Add the value at a step."""
        if self._seen % self._stride == 0:
            self._points.append((step, value))
            if len(self._points) > CAPACITY - 1:
                del self._points[1::2]
                self._stride *= 2
        self._seen += 1
        self._last = (step, value)

    def copy(self) -> Series:
        """Return a series that later points do not change."""
        twin = Series()
        twin._points, twin._stride = self._points.copy(), self._stride
        twin._seen, twin._last = self._seen, self._last
        return twin

    @property
    def last(self) -> tuple[int, float] | None:
        """Step and value of the newest point."""
        return self._last

    @property
    def seen(self) -> int:
        """How many points came."""
        return self._seen

    def __iter__(self) -> Iterator[tuple[int, float]]:
        yield from self._points
        if self._last is not None and self._points[-1:] != [self._last]:
            yield self._last

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __eq__(self, other: object) -> bool:
        # as text, so that NaN is equal to NaN
        return isinstance(other, Series) and self._seen == other.seen and repr(list(self)) == repr(list(other))

    __hash__ = None  # type: ignore[assignment] # it changes
