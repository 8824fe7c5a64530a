"""The log of a Docker container: the attached stream, and what makes good for it when it drops."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker import DockerClient

_STREAMS = {1: "stdout", 2: "stderr"}
_HEADER = struct.Struct(">BxxxL")
_RECEIVE_BYTES = 1 << 18
_MOMENT_S = 2.0
_AGAIN_S = 1.0
_PATIENCE_S = 5.0
_LAST_BYTES = 200
_REPLACED = "\N{REPLACEMENT CHARACTER}".encode()
_LONGEST_LINE_BYTES = 1 << 20
"""A longer line is written before it is whole."""


class Log:
    """Copies a container's output to a file, each byte once.

    The attached stream is raw but cut at any place, so lines are written whole: those of stdout and stderr do not mix.
    It can drop, which looks like its end: then the daemon's copy is read from the beginning, a stream at a time, past
    the bytes that are written already. That copy is text: bytes that are no UTF-8 come replaced, and a last line
    without newline comes with one.
    """

    def __init__(self, path: Path, client: DockerClient, container: str, running: Callable[[], bool]) -> None:
        self._client = client
        self._container = container
        self._running = running
        self._file = path.open("ab", buffering=0)
        self._written = dict.fromkeys(_STREAMS.values(), 0)
        self._unfinished = dict.fromkeys(_STREAMS.values(), b"")
        self._last = dict.fromkeys(_STREAMS.values(), b"")
        self._ended_at = 0.0
        self._socket: Any = None
        self._dropped = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._copy, name=f"log {container[:12]}", daemon=True)

    def attach(self) -> None:
        """Open the stream; before the container starts, so that nothing is missed."""
        self._socket = self._client.api.attach_socket(self._container, {"stdout": 1, "stderr": 1, "stream": 1})

    def start(self) -> None:
        """Begin to copy."""
        self._thread.start()

    def finish(self, *, complete: bool) -> None:
        """Wait until all is written; `complete` is False where the daemon cannot be asked for the rest."""
        self._over.set()
        connection = self._connection()
        if not complete and connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
        self._thread.join(None if complete else _PATIENCE_S)
        if complete and not self._dropped:
            self._dropped = self._lacks_the_end()
        for name in self._written:
            if complete and self._dropped:
                self._make_good(name)
            else:
                self._put(name, self._unfinished[name])
        self.close()

    def close(self) -> None:
        """Close file and stream."""
        self._file.close()
        if self._socket is not None:
            connection = self._connection()
            response = getattr(self._socket, "_response", None)  # the SDK keeps it there, and reads through it
            (self._socket if response is None else response).close()
            if connection is not None:
                connection.close()  # a reader of a socket does not close the socket

    def _connection(self) -> socket.socket | None:
        return self._socket if isinstance(self._socket, socket.socket) else getattr(self._socket, "_sock", None)

    def _copy(self) -> None:
        try:
            receive = self._socket.recv if isinstance(self._socket, socket.socket) else self._socket.read
            for name, data in frames(receive):
                self._write(name, data)
            self._ended_at = time.time()
            self._dropped = self._goes_on()
        except (OSError, ValueError):
            self._dropped = True
        if self._dropped:
            self._unfinished = dict.fromkeys(self._written, b"")  # it comes again
            while not self._over.wait(_AGAIN_S):
                for name in self._written:
                    self._make_good(name)

    def _goes_on(self) -> bool:
        """Say whether the container outlives its stream, which ends a moment before the state changes."""
        deadline = time.monotonic() + _MOMENT_S
        try:
            while self._running():
                if time.monotonic() > deadline:
                    return True
                time.sleep(0.02)
        except Exception:  # nobody can tell, so the stream is not believed
            return True
        return False

    def _lacks_the_end(self) -> bool:
        """Say whether the stream ended before the output did: the daemon's last entry is newer, or is not here."""
        try:
            entry: bytes = self._client.api.logs(self._container, timestamps=True, tail=1)
            stamp, _, text = entry.partition(b" ")
            if not stamp:
                return False
            logged_at = datetime.fromisoformat(stamp.decode()).timestamp()
        except Exception:  # the daemon went away just now; what is here is what there is
            return False
        if logged_at > self._ended_at + _MOMENT_S / 2:
            return True
        last = text.rstrip(b"\n")[-_LAST_BYTES:]
        here = [(self._last[name] + self._unfinished[name]).rstrip(b"\n") for name in self._written]
        return _REPLACED not in last and not any(each.endswith(last) for each in here)

    def _make_good(self, name: str) -> None:
        """Append what the daemon has of one stream beyond what is written."""
        past = self._written[name]
        with contextlib.suppress(Exception):  # tried again, and once more at the end
            for data in self._client.api.logs(
                self._container, stdout=name == "stdout", stderr=name == "stderr", stream=True, follow=False
            ):
                if past < len(data):
                    self._put(name, data[past:])
                past = max(0, past - len(data))

    def _write(self, name: str, data: bytes) -> None:
        data = self._unfinished[name] + data
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not end and len(data) > _LONGEST_LINE_BYTES:
            end = len(data)
        self._put(name, data[:end])
        self._unfinished[name] = data[end:]

    def _put(self, name: str, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._written[name] += len(data)
        self._last[name] = (self._last[name] + data[-_LAST_BYTES:])[-_LAST_BYTES:]


def frames(receive: Callable[[int], bytes]) -> Iterator[tuple[str, bytes]]:
    """Split the attached stream: eight bytes (stream, three zeros, length, big-endian), then the data.

    Data is handed on as it comes, with what follows it of the same stream; raises ValueError where the stream ends
    inside a frame.
    """
    waiting = b""
    left = 0
    name = ""
    while data := receive(_RECEIVE_BYTES):
        waiting += data
        at = 0
        pieces: list[bytes] = []
        while at < len(waiting):
            if not left:
                if len(waiting) - at < _HEADER.size:
                    break
                kind, left = _HEADER.unpack_from(waiting, at)
                at += _HEADER.size
                if pieces and _STREAMS.get(kind) != name:
                    yield name, b"".join(pieces)
                    pieces = []
                name = _STREAMS.get(kind, "stdout")
            piece = waiting[at : at + left]
            pieces.append(piece)
            at += len(piece)
            left -= len(piece)
        waiting = waiting[at:]
        if pieces:
            yield name, b"".join(pieces)
    if left or waiting:
        raise ValueError("the stream ended inside a frame")
