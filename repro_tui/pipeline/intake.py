"""What the task tells, read from the file it appends to and checked line by line."""

from __future__ import annotations

from collections.abc import Iterable

from repro_tui.pipeline.context import Context
from repro_tui.runs.tail import Tail
from repro_tui.wire import MAX_LINE_BYTES

_CHUNKS = 8


class Intake:
    """Takes the lines of the run's metrics file into `context.state`; what is no line of the format is told as such."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tail = Tail(context.run.metrics)
        self._told = 0
        self._oversized = 0

    def pump(self) -> None:
        """Take in what is new; a task that writes faster than that can be read leaves some for the next time."""
        for _ in range(_CHUNKS):
            lines = self._tail.read()
            self._take(lines)
            if not lines:
                return

    def close(self) -> None:
        """Take in what is left once the container has ended: a last line without its newline counts too."""
        while not self._tail.caught_up():
            self._take(self._tail.read())
        rest = self._tail.rest()
        self._take([rest] if rest.strip() else [])
        if self._context.state.bad_lines > self._told:
            self._context.notice("warning", f"{self._context.state.bad_lines} lines of the metrics file were left out")

    def _take(self, lines: Iterable[bytes]) -> None:
        state = self._context.state
        for line in lines:
            state.apply_line(line)
        for _ in range(self._tail.oversized - self._oversized):
            state.complain(f"a line longer than {MAX_LINE_BYTES} bytes")
        self._oversized = self._tail.oversized
        for complaint in state.complaints[self._told :]:
            self._told += 1
            self._context.notice("warning", f"left out of the metrics file: {complaint}")
