"""What only Docker can do wrong: streams that drop, daemons that are not there, images that are not what they were."""

from __future__ import annotations

import contextlib
import functools
import gc
import http.server
import io
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from repro_tui.engines import docker_running
from repro_tui.engines.base import EndReason
from repro_tui.engines.docker import DockerEngine, Endpoint, remove
from repro_tui.engines.docker_log import frames
from repro_tui.errors import DriftError
from tests.engines.engine_bench import Bench, python_of_nobody

# The SDK leaves sockets to the garbage collector, which warns, when a connection is refused or an answer is an error.
sdk_leaves_sockets = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
on_docker = pytest.mark.parametrize("engine", ["docker"], indirect=True)


class Proxy:
    """Stands between a client and the daemon, and cuts attached streams after some bytes."""

    def __init__(self, path: Path, daemon: str, cut_after_bytes: int) -> None:
        self.daemon = daemon
        self.cut_after_bytes = cut_after_bytes
        self.cuts = 0
        self.connections: list[socket.socket] = []
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen()
        self.pumps: list[threading.Thread] = []
        self.accepting = threading.Thread(target=self._accept, daemon=True)
        self.accepting.start()

    def close(self) -> None:
        """Go away, as a daemon does."""
        self.server.shutdown(socket.SHUT_RDWR)  # wakes accept, which close does not
        self.accepting.join()
        self.server.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for pump in self.pumps:
            pump.join()
        for connection in self.connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(self.daemon)
            attached = threading.Event()
            self.connections += [client, upstream]
            for source, target, answers in ((client, upstream, False), (upstream, client, True)):
                pump = threading.Thread(target=self._pump, args=(source, target, answers, attached), daemon=True)
                self.pumps.append(pump)
                pump.start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool, attached: threading.Event) -> None:
        passed = 0
        try:
            while data := source.recv(4096):
                if not answers and b"/attach?" in data:
                    attached.set()
                passed += len(data)
                if answers and attached.is_set() and passed > self.cut_after_bytes:
                    self.cuts += 1
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def short_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose path is short enough for a socket's address."""
    folder = Path(f"/tmp/repro-tui-test-{os.getpid()}-{time.monotonic_ns()}")
    folder.mkdir(mode=0o755)
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@on_docker
@pytest.mark.engine
@pytest.mark.parametrize("cut_after_bytes", [0, 60_000, 250_001], ids=["at once", "early", "late"])
def test_a_dropped_stream_is_made_good(
    bench: Bench, short_folder: Path, monkeypatch: pytest.MonkeyPatch, cut_after_bytes: int
) -> None:
    proxy = Proxy(short_folder / "socket", Endpoint.find().url.removeprefix("unix://"), 4096 + cut_after_bytes)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{short_folder / 'socket'}")
    bench.engine = DockerEngine()
    outcome = bench.run(
        "import os, time\nfor n in range(20_000):\n"
        "    os.write(1, b'out %d\\n' % n); os.write(2, b'err %d\\n' % n)\n    if n % 1000 == 0: time.sleep(0.2)"
    )
    assert outcome.ok
    assert proxy.cuts == 1
    lines = bench.log.read_bytes().splitlines()
    assert [line for line in lines if line.startswith(b"out")] == [b"out %d" % n for n in range(20_000)]
    assert [line for line in lines if line.startswith(b"err")] == [b"err %d" % n for n in range(20_000)]
    assert len(lines) == 40_000
    proxy.close()


@sdk_leaves_sockets
@on_docker
@pytest.mark.engine
def test_a_container_removed_behind_our_back_is_lost(bench: Bench) -> None:
    running = bench.start_python("import time; time.sleep(100)")
    client = Endpoint.find().connect()
    client.containers.get(f"repro-tui-test-{bench.name}-1").remove(force=True)
    client.close()
    outcome = running.wait(60)
    assert outcome is not None
    # The daemon may tell of the kill before it forgets the container.
    assert (outcome.reason, outcome.exit_code) in {(EndReason.LOST, None), (EndReason.SIGNALLED, 137)}
    gc.collect()


@sdk_leaves_sockets
@on_docker
@pytest.mark.engine
def test_a_daemon_that_goes_away_is_lost(bench: Bench, short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Endpoint.find().url
    proxy = Proxy(short_folder / "socket", daemon.removeprefix("unix://"), 1 << 30)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{short_folder / 'socket'}")
    monkeypatch.setattr(docker_running, "_GONE_AFTER_S", 1.5)
    bench.engine = DockerEngine()
    running = bench.start_python("import time; print('said', flush=True); time.sleep(100)")
    while bench.log.read_text() != "said\n":
        time.sleep(0.01)
    proxy.close()
    outcome = running.wait(60)
    monkeypatch.setenv("DOCKER_HOST", daemon)
    remove([f"repro-tui-test-{bench.name}-1"])
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == (EndReason.LOST, None)
    assert "has not answered" in outcome.detail
    gc.collect()
    assert bench.log.read_text() == "said\n"


@sdk_leaves_sockets
@on_docker
@pytest.mark.engine
def test_a_name_that_this_worker_left_is_used_again(bench: Bench) -> None:
    """A create that timed out may have created."""
    first = bench.start_python("import time; time.sleep(100)")
    bench.count -= 1
    outcome = bench.run("print('second')")
    assert outcome.ok
    assert bench.log.read_text() == "second\n"
    assert first.wait(30) is not None
    gc.collect()


@on_docker
@pytest.mark.engine
def test_an_image_with_other_layers_is_drift(bench: Bench) -> None:
    image = bench.image
    other = replace(image, layers=(replace(image.layers[0], digest="sha256:" + "1" * 64),))
    with pytest.raises(DriftError, match="has layers"):
        bench.engine.prepare(other, lambda done, total, text: None)


@on_docker
@pytest.mark.engine
def test_an_image_is_loaded_once_with_progress(bench: Bench) -> None:
    seen: list[tuple[int, int]] = []
    bench.engine.prepare(bench.image, lambda done, total, text: seen.append((done, total)))
    assert seen == [(1, 1)]


def test_a_daemon_that_is_not_there_has_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    answer = DockerEngine().availability()
    assert not answer.ok
    assert answer.host.endswith("no.sock")
    assert answer.remedy.startswith(("Start it", "Install Docker"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "not installed" in DockerEngine().availability().reason


def test_a_socket_nobody_listens_on_is_a_daemon_that_is_down(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(short_folder / "socket"))
    (short_folder / "docker").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(short_folder))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{short_folder / 'socket'}")
    answer = DockerEngine().availability()
    assert "no daemon answers" in answer.reason


def test_a_daemon_that_answers_nonsense_is_not_available(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(short_folder / "socket"))
    server.listen()

    def answer_nonsense() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.recv(1000)
                client.sendall(b"SSH-2.0-OpenSSH\r\n")

    threading.Thread(target=answer_nonsense, daemon=True).start()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{short_folder / 'socket'}")
    try:
        answer = DockerEngine().availability()
    finally:
        server.close()
    assert not answer.ok
    assert "does not answer" in answer.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_socket_without_permission_says_how_to_get_it(short_folder: Path) -> None:
    python = python_of_nobody()
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(short_folder / "socket"))
    (short_folder / "socket").chmod(0o600)
    server.listen()
    code = (
        "from repro_tui.engines.docker import DockerEngine as D; a = D().availability(); print(a.reason, '|', a.remedy)"
    )
    done = subprocess.run(
        [*python, "-c", code], capture_output=True, text=True, check=False, cwd="/",
        env={"DOCKER_HOST": f"unix://{short_folder / 'socket'}", "PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )  # fmt: skip
    server.close()
    assert "permission denied on the socket" in done.stdout, done.stderr
    assert "group docker" in done.stdout


def pieces(stream: io.BytesIO, size: int, _asked: int) -> bytes:
    return stream.read(size)


def test_frames_are_split_wherever_they_are_cut() -> None:
    data = b"\1\0\0\0\0\0\0\3abc" + b"\2\0\0\0\0\0\0\0" + b"\1\0\0\0\0\0\0\2de" + b"\2\0\0\0\0\0\0\1x"
    for size in range(1, len(data) + 1):
        stream = io.BytesIO(data)
        merged: dict[str, bytes] = {}
        order = ""
        for name, piece in frames(functools.partial(pieces, stream, size)):
            merged[name] = merged.get(name, b"") + piece
            order += piece.decode()
        assert merged == {"stdout": b"abcde", "stderr": b"x"}
        assert order == "abcdex"


def test_a_stream_that_ends_inside_a_frame_is_no_end() -> None:
    for cut in (b"\1\0\0", b"\1\0\0\0\0\0\0\5ab"):
        stream = io.BytesIO(cut)
        with pytest.raises(ValueError, match="inside a frame"):
            list(frames(stream.read))


@sdk_leaves_sockets
@pytest.mark.parametrize(
    ("version", "reason", "remedy"),
    [
        ({"Version": "19.03.15", "ApiVersion": "1.40"}, "Docker 19.03.15 .* is too old: 20.10", "Upgrade Docker"),
        (
            {"Version": "4.3.1", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]},
            "is Podman",
            "--engine podman",
        ),
        (
            {"Version": "29.0", "ApiVersion": "1.52", "Os": "linux", "Arch": "amd64"},
            "on far-away, not this machine",
            "",
        ),
    ],
    ids=["too old", "Podman", "another machine"],
)
def test_what_answers_is_looked_at(
    version: dict[str, object], reason: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"Name": "far-away"} if self.path.endswith("/info") else version).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
        answer = DockerEngine().availability()
        server.shutdown()
    assert answer.ok == (not remedy)
    assert re.search(reason, answer.reason), answer
    assert answer.remedy.startswith(remedy)
    gc.collect()
