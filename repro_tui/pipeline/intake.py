"""What the task tells, read from the file it appends to and checked line by line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from repro_tui import wire
from repro_tui.pipeline.context import Context
from repro_tui.runs.tail import Tail
from repro_tui.wire import MAX_LINE_BYTES

_CHUNKS = 8


class Intake:
    """Takes the lines of a metrics file into `context.state`; what is no line of the format is told as such.

    Of a manifest with stages each container has a file of its own: its lines are copied behind those of the earlier
    ones into the run's file, below a line that names the stage. That line is the host's to write alone.
    """

    def __init__(self, context: Context, stage: str = "") -> None:
        self._context = context
        self._tail = Tail(context.run.out / stage / context.run.metrics.name)
        self._merged: Path | None = context.run.metrics if stage else None
        self._told = len(context.state.complaints)
        self._bad_before = context.state.bad_lines
        self._oversized = 0
        if stage:
            self._take([wire.encode("stage", stage=stage).rstrip("\n").encode()])

    def pump(self) -> None:
        """Take in what is new; a task that writes faster than that can be read leaves some for the next time."""
        for _ in range(_CHUNKS):
            lines = self._tail.read()
            self._take(self._of_task(lines))
            if not lines:
                return

    def close(self) -> None:
        """Take in what is left once the container has ended: a last line without its newline counts too."""
        while not self._tail.caught_up():
            self._take(self._of_task(self._tail.read()))
        rest = self._tail.rest()
        self._take(self._of_task([rest] if rest.strip() else []))
        bad = self._context.state.bad_lines
        if bad > max(self._told, self._bad_before):
            self._context.notice("warning", f"{bad} lines of the metrics file were left out")
        if self._merged is not None:  # it has times in it, and is no part of what the stage hands on
            with suppress(OSError):
                self._tail.path.unlink(missing_ok=True)

    def _of_task(self, lines: list[bytes]) -> list[bytes]:
        """Leave out lines that are not a stage's to write."""
        return [line for line in lines if not _names_stage(line)] if self._merged is not None else lines

    def _take(self, lines: Iterable[bytes]) -> None:
        state = self._context.state
        lines = list(lines)
        if self._merged is not None and lines:
            with self._merged.open("ab") as file:
                file.writelines(line + b"\n" for line in lines)
        for line in lines:
            state.apply_line(line)
        for _ in range(self._tail.oversized - self._oversized):
            state.complain(f"a line longer than {MAX_LINE_BYTES} bytes")
        self._oversized = self._tail.oversized
        for complaint in state.complaints[self._told :]:
            self._told += 1
            self._context.notice("warning", f"left out of the metrics file: {complaint}")


def _names_stage(line: bytes) -> bool:
    if b"stage" not in line and b"\\" not in line:
        return False
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and body.get("event") == "stage"
