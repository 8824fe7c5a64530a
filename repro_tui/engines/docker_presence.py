"""Whether a Docker daemon has been there all the time; it tells nobody when it was started."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker import DockerClient


class Presence:
    """Holds a stream of the daemon's events open, which ends with the daemon, however soon another takes its place."""

    def __init__(self, streams: DockerClient, container: str) -> None:
        """Open the stream; `streams` is a client without time limits. Raises what the SDK does."""
        self._stream: Any = streams.api.events(filters={"container": [container]})
        self._ended = threading.Event()
        threading.Thread(target=self._follow, name=f"presence {container[:12]}", daemon=True).start()

    def ended(self, within_s: float) -> bool:
        """Say whether the daemon went away, also within the next seconds."""
        return self._ended.wait(within_s)

    def close(self) -> None:
        """Hold it no longer."""
        with contextlib.suppress(Exception):  # ended, or never begun
            self._stream.close()

    def _follow(self) -> None:
        with contextlib.suppress(Exception):  # whatever ends it, it has ended
            for _event in self._stream:
                pass
        self._ended.set()
