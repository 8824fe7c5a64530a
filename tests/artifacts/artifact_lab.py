"""What the tests of artifacts are made with: pins, and a web server on loopback that misbehaves as told."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from repro_tui.manifest.models import Artifact
from repro_tui.manifest.trees import tree_digest, tree_files

Behaviour = Callable[[BaseHTTPRequestHandler, bytes], None]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_artifact(
    data: bytes, *sources: dict[str, Any], name: str = "thing", size_bytes: int | None = None
) -> Artifact:
    return Artifact.model_validate(
        {
            "name": name,
            "kind": "data",
            "path": name,
            "sha256": sha256(data),
            "bytes": len(data) if size_bytes is None else size_bytes,
            "sources": list(sources),
        }
    )


def tree_artifact(folder: Path, *sources: dict[str, Any], name: str = "code") -> Artifact:
    files = tree_files(folder)
    return Artifact.model_validate(
        {
            "name": name,
            "kind": "code",
            "path": name,
            "tree_sha256": tree_digest(files),
            "bytes": sum(path.stat().st_size for path in files.values()),
            "sources": list(sources),
        }
    )


@dataclass
class Server:
    """Serves `files`, by path; a path's `behaviours` are used up first, one a request."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    behaviours: dict[str, list[Behaviour]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def add(self, path: str, data: bytes, *behaviours: Behaviour) -> str:
        """Serve data at a path and return its address."""
        self.files[path] = data
        self.behaviours[path] = list(behaviours)
        return f"{self.address}{path}"

    def asked(self, path: str) -> list[dict[str, str]]:
        """Return the headers of each request for a path."""
        return [headers for asked, headers in self.requests if asked == path]


def serve_whole(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    """Answer with the data, or the range of it that is asked for."""
    start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    if start >= len(data) > 0:
        handler.send_error(416)
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    handler.send_header("Content-Length", str(len(data) - start))
    handler.end_headers()
    handler.wfile.write(data[start:])


def serve_without_ranges(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    """Answer with all of the data, whatever range is asked for."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def cut_off(after: int) -> Behaviour:
    """Promise all of the data and close the connection after so many bytes."""

    def behave(handler: BaseHTTPRequestHandler, data: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:after])
        handler.close_connection = True

    return behave


def fail_with(status: int) -> Behaviour:
    """Answer with a status."""
    return lambda handler, _data: handler.send_error(status)


def redirect_to(url: str) -> Behaviour:
    """Answer with a redirect."""

    def behave(handler: BaseHTTPRequestHandler, _data: bytes) -> None:
        handler.send_response(302)
        handler.send_header("Location", url)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return behave


@contextmanager
def serving() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            state.requests.append((path, dict(self.headers.items())))
            if path not in state.files:
                self.send_error(404)
                return
            waiting = state.behaviours[path]
            (waiting.pop(0) if waiting else serve_whole)(self, state.files[path])

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    state.address = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
