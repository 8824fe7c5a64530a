"""Follow one run directory from a thread, and tell a screen when there is something new.

The thread alone polls the reader. What a screen draws it takes from `snapshot`, a copy that later lines do not change.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from textual.message import Message
from textual.message_pump import MessagePump

from repro_tui.events import Event, ResourceSample
from repro_tui.runs.catalog import SEEDS
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.reader import RunReader
from repro_tui.runs.state import RunState
from repro_tui.tui.seeds import SeedLine, SeedsReader

POLL_S, CALM_POLL_S = 0.1, 0.5
_LOOK_S = 1.0
"""Between two looks at what is not in the journal."""
_STOP_PATIENCE_S = 2.0


class Changed(Message, bubble=False):
    """There is something new in the run; any number of them may become one."""

    def can_replace(self, message: Message) -> bool:
        """Take the place of one that waits."""
        return isinstance(message, Changed)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run as it was at one moment; `died`: its worker is gone without its last word. `seeds`: of a series."""

    state: RunState
    died: bool
    seeds: tuple[SeedLine, ...] = ()

    @property
    def live(self) -> bool:
        """Say whether there may be more to come."""
        return not self.state.finished and not self.died


class RunFeed:
    """Polls one run ten times a second while it lives, and posts `Changed` to `target`. `stop` before leaving."""

    def __init__(self, run: RunDirectory, target: MessagePump) -> None:
        self.run = run
        self.lock = threading.Lock()
        self._reader = RunReader(run, listener=self._listen)
        self.calm = False
        """Nobody looks closely: poll less often."""
        self.caught_up = False
        """Whether the run was read to its end once, and looked at whether its worker lives."""
        self.heard_at = 0.0
        """When a stage last said anything, in its log, its metrics or an event; samples of resources do not count."""
        self._target = target
        self._died = False
        self._seeds_reader = SeedsReader(run)
        self._seeds: tuple[SeedLine, ...] = ()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"feed-{run.id}", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_PATIENCE_S)

    def snapshot(self) -> Snapshot:
        """Return how the run is now."""
        with self.lock:
            return Snapshot(self._reader.state.copy(), self._died, self._seeds)

    def _listen(self, event: Event) -> None:
        if not isinstance(event, ResourceSample):
            self.heard_at = max(self.heard_at, event.at)

    def _look(self) -> None:
        """See whether the worker lives, and when the files of the running stage last grew."""
        self._died = self._reader.died()
        stage = self._reader.state.current_stage
        for path in (self.run.metrics, *([self.run.log(stage.name)] if stage is not None else [])):
            with suppress(OSError):
                self.heard_at = max(self.heard_at, path.stat().st_mtime)

    def _look_at_seeds(self) -> bool:
        """Say whether a seed of the series stands otherwise than before; they have journals of their own."""
        if SEEDS not in self._reader.state.stages:
            return False
        before, self._seeds = self._seeds, self._seeds_reader.look()
        return before != self._seeds

    def _follow(self) -> None:
        looked_at, seeds_at, first = 0.0, 0.0, True
        while not self._stopping.is_set():
            with self.lock:
                new = self._reader.poll()
                now = time.monotonic()
                if not new and now - looked_at >= _LOOK_S:
                    looked_at = now
                    self._look()
                ended = not new and (self._died or self._reader.state.finished)
            changed = new
            if ended or now - seeds_at >= _LOOK_S:
                seeds_at = now
                changed = self._look_at_seeds() or changed
            # the first burst of a long run becomes one message
            if (changed and not first) or ended or (first and not new):
                self._target.post_message(Changed())
            self.caught_up = self.caught_up or not new
            if ended:
                return
            if not new:
                first = False
                self._stopping.wait(CALM_POLL_S if self.calm else POLL_S)
