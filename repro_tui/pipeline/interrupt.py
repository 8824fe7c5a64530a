"""Cancelling: a request, from a file or a signal, becomes a CancelledError in the thread that walks the stages."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from repro_tui.errors import CancelledError

GRACE_S = 10.0
"""How long the training may take to end by itself once it was asked to."""
_POLL_S = 0.2


class Interrupt:
    """Watches for a cancel request; the main thread is interrupted wherever it waits, unless it is shielded.

    `poll` answers None, "graceful" or "now"; SIGTERM to the worker means "graceful". `tell` is called once. A stage
    that has something to put away in order (a container) works under `shielded()` and looks at `requested` itself.
    """

    def __init__(self, poll: Callable[[], str | None], tell: Callable[[], None]) -> None:
        self._poll = poll
        self._tell = tell
        self._shields = 0
        self._raised = False
        self._done = threading.Event()
        self.requested = False
        self.grace_s = GRACE_S

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Handle SIGTERM and requests while inside; only the main thread may enter."""
        before = signal.signal(signal.SIGTERM, self._on_signal)
        threading.Thread(target=self._watch, args=(threading.get_ident(),), daemon=True, name="cancel").start()
        try:
            yield
        finally:
            self._done.set()
            signal.signal(signal.SIGTERM, before)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Let nothing interrupt what is inside; on leaving, a request made meanwhile raises CancelledError."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        self.check()

    def shield(self) -> None:
        """Let nothing interrupt from here on: the report is being written."""
        self._shields += 1

    def check(self) -> None:
        """Raise CancelledError where a request is waiting and nothing shields from it."""
        if self.requested and not self._shields:
            self._raised = True
            raise CancelledError("the run was cancelled")

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if not self._raised:
            self.check()

    def _watch(self, thread: int) -> None:
        asked = False
        while not self._done.wait(_POLL_S):
            wish = self._poll()
            if wish == "now":
                self.grace_s = 0.0
            if wish is not None and not asked:
                asked = True
                self._tell()
                signal.pthread_kill(thread, signal.SIGTERM)
            if wish == "now":
                return
