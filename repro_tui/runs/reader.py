"""Follow a run directory: what `attach`, `show`, `logs`, the headless reporter and the TUI look through."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from repro_tui.events import Event, from_line
from repro_tui.runs.directory import Liveness, RunDirectory
from repro_tui.runs.state import RunState
from repro_tui.runs.tail import Tail


@dataclass
class RunReader:
    """A run's state, as new as the last `poll`. Any number of readers may follow one run."""

    run: RunDirectory
    state: RunState = field(default_factory=RunState)
    listener: Callable[[Event], None] | None = None
    """Called with each event after it was applied, in the order of the journal."""

    def __post_init__(self) -> None:
        self._events = Tail(self.run.events)
        self._metrics = Tail(self.run.metrics)

    def poll(self) -> bool:
        """Take in what is new, about a megabyte of each file at most; say whether anything was."""
        oversized = self._metrics.oversized
        events, metrics = self._events.read(), self._metrics.read()
        for line in events:
            event = self._take(line)
            if event is not None and self.listener is not None:
                self.listener(event)
        for line in metrics:
            self.state.apply_line(line)
        for _ in range(self._metrics.oversized - oversized):
            self.state.complain(f"a line longer than {1 << 20} bytes")
        return bool(events or metrics)

    def _take(self, line: bytes) -> Event | None:
        # half a line of a worker that was killed, or a file that somebody edited
        with suppress(ValueError, TypeError, AttributeError, RecursionError):
            event = from_line(line)
            if event is not None:
                self.state.apply(event)
            return event
        return None

    def read_all(self) -> RunState:
        """Take in everything that is there now, and return the state.

        Of a run that has ended, a last metrics line without its newline counts too.
        """
        while not (self._events.caught_up() and self._metrics.caught_up()):
            self.poll()
        if self.state.finished and (rest := self._metrics.rest()):
            self.state.apply_line(rest)
        return self.state

    def died(self) -> bool:
        """Say whether the worker is gone without its last word. Polls once more, for a word said in between."""
        if self.state.finished or self.run.liveness() is not Liveness.ENDED:
            return False
        self.read_all()
        return not self.state.finished


def read_state(run: RunDirectory) -> RunState:
    """Return the state of a run as it is on disk now."""
    return RunReader(run).read_all()
