"""A series of numbers over steps, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

CAPACITY = 1024

_Point = tuple[int, float]


class Series:
    """Keeps at most CAPACITY points of however many came: the lowest and the highest of each stretch of them.

    So a spike survives, and so does what is no number. The first and the last point are always kept. When it is full,
    two stretches each become one: the same points in give the same points kept.
    """

    def __init__(self) -> None:
        self._points: list[_Point] = []
        self._open: list[_Point] = []  # the lowest and the highest of the stretch that is not full yet
        self._open_count = 0
        self._length = 2  # of a stretch
        self._seen = 0
        self._first: _Point | None = None
        self._last: _Point | None = None

    def add(self, step: int, value: float) -> None:
        """Add the value at a step."""
        self._last = (step, value)
        if self._first is None:
            self._first = self._last
        self._seen += 1
        self._open_count += 1
        self._open = _extremes([*self._open, self._last])
        if self._open_count < self._length:
            return
        self._points += self._open
        self._open, self._open_count = [], 0
        if len(self._points) >= CAPACITY - 4:
            groups = (self._points[place : place + 4] for place in range(0, len(self._points), 4))
            self._points = [point for group in groups for point in _extremes(group)]
            self._length *= 2

    @property
    def last(self) -> tuple[int, float] | None:
        """Step and value of the newest point."""
        return self._last

    @property
    def seen(self) -> int:
        """How many points came."""
        return self._seen

    def copy(self) -> Series:
        """Return a series that later points do not change."""
        twin = Series()
        twin.__dict__.update(self.__dict__)
        twin._points = self._points.copy()  # the only list that is changed in its place
        return twin

    def __iter__(self) -> Iterator[tuple[int, float]]:
        kept = [*self._points, *self._open]
        if self._first is not None and kept[:1] != [self._first]:
            yield self._first
        yield from kept
        if self._last is not None and kept[-1:] != [self._last]:
            yield self._last

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __eq__(self, other: object) -> bool:
        # as text, so that NaN is equal to NaN
        return isinstance(other, Series) and self._seen == other.seen and repr(list(self)) == repr(list(other))

    __hash__ = None  # type: ignore[assignment] # it changes


def _extremes(points: list[_Point]) -> list[_Point]:
    """Return the lowest and the highest of some points, in their order; what is no number is above all."""
    if len(points) < 3:
        return points
    ranks = [value if value == value else float("inf") for _, value in points]  # noqa: PLR0124 - NaN is not itself
    low = ranks.index(min(ranks))
    high = len(ranks) - 1 - ranks[::-1].index(max(ranks))
    return [points[place] for place in sorted({low, high})]
