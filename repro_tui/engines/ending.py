"""How a container ends: why, by whoever first made it end, and what came out, told once to all who wait."""

from __future__ import annotations

import threading
from collections.abc import Callable

from repro_tui.engines.base import EndReason, Outcome


class Ending:
    """The end of one container, still to come or told. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cause: tuple[EndReason, str] | None = None
        self._outcome: Outcome | None = None
        self._told = threading.Event()

    @property
    def cause(self) -> tuple[EndReason, str] | None:
        """Reason and detail where somebody here ends it; None where it ends by itself or by others."""
        return self._cause

    @property
    def told(self) -> bool:
        """Whether the outcome is known."""
        return self._told.is_set()

    def claim(self, reason: EndReason, detail: str) -> bool:
        """Record why it is being ended; False where that is known or its end was told."""
        with self._lock:
            if self._outcome is not None or self._cause is not None:
                return False
            self._cause = (reason, detail)
            return True

    def stop(self, grace_s: float, terminate: Callable[[], object], kill: Callable[[], object]) -> None:
        """End it because somebody wants that: kill it, or ask it to end and kill it after `grace_s`; returns at once.

        Where it is being ended already, only being killed now is more than what it has coming.
        """
        first = self.claim(EndReason.STOPPED, "")
        if grace_s <= 0:
            kill()
        elif first:
            terminate()
            timer = threading.Timer(grace_s, kill)
            timer.daemon = True
            timer.start()

    def tell(self, outcome: Outcome) -> None:
        """Record what came out and wake all who wait."""
        with self._lock:
            self._outcome = outcome
        self._told.set()

    def wait(self, timeout_s: float | None = None) -> Outcome | None:
        """Return the outcome, None when `timeout_s` passed first."""
        self._told.wait(timeout_s)
        return self._outcome
