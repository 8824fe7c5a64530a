"""What every source is given, and how it says that it has nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from repro_tui.artifacts.store import Store

Progress = Callable[[int, int, str], None]
"""Called with the bytes so far, the bytes in all (0 where they are not known), and what is being fetched."""

_PROGRESS_INTERVAL_S = 0.1


class SourceUnavailableError(Exception):
    """A source has not what is wanted, or cannot be asked; the next one is tried. `reason` is short, for one line."""

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True)
class Context:
    """What a source may use: the store, the folder that local paths start from, and whom to tell."""

    store: Store
    base: Path
    environ: Mapping[str, str]
    debian_mirror: str | None = None
    runs: Path = Path("runs")
    """The folder of the runs, whose outputs a manifest may name."""
    local: bool = True
    """Whether places on this host count: they do not where somebody else wrote the manifest for another host."""
    notify: Callable[[str], None] = lambda _: None
    progress: Progress = lambda _done, _total, _text: None
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the work is given up: downloads and clients end within a fraction of a second."""
    retry_delays_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """How long to wait before each new try of a download that failed for a passing reason."""

    def check_stop(self) -> None:
        """Raise SourceUnavailableError where the work was given up."""
        if self.stop.is_set():
            raise SourceUnavailableError("stopped")


def throttled(progress: Progress) -> Progress:
    """Return a progress function that passes on ten calls a second at most, and always the last of a file."""
    last: dict[str, float] = {}

    def pass_on(done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if done == total or now - last.get(text, 0.0) >= _PROGRESS_INTERVAL_S:
            last[text] = now
            progress(done, total, text)

    return pass_on
