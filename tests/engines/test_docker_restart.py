"""A Docker daemon that is restarted while a container runs; Podman and the embedded engine have no daemon."""

from __future__ import annotations

import gc
import hashlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from repro_tui.engines.base import EndReason
from repro_tui.engines.docker import DockerEngine
from repro_tui.images.model import Image
from tests.engines.docker_daemons import require_root, short_folder
from tests.engines.engine_bench import Bench, wait_for, wait_for_text

pytestmark = [
    pytest.mark.engine,
    # The SDK leaves sockets to the garbage collector, which warns, when a connection is refused.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LINES = "import os, time\nfor n in range(60):\n    os.write(1, b'out %d\\n' % n); os.write(2, b'err %d\\n' % n); time.sleep(0.1)"


class Daemon:
    """A dockerd of the test's own beside the host's, which goes on."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder / 'docker.sock'}"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["dockerd", "--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec"),
                 "--pidfile", str(self.folder / "docker.pid"), "--bridge=none", "--iptables=false", "--ip6tables=false",
                 "--containerd-namespace", "repro-tui-test", "--containerd-plugins-namespace", "repro-tui-test-plugins",
                 "-H", self.url, *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        process = self.process
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", self.url)
            wait_for(lambda: process.poll() is not None or DockerEngine().availability().ok, "the daemon answers", 40)
        if process.poll() is not None:
            words = (self.folder / "log").read_text(errors="replace").splitlines()[-2:]
            pytest.skip(f"a Docker daemon of the test's own does not start here: {' | '.join(words)[-400:]}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    require_root()
    made = Daemon(short_folder("restart"), *request.param)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
def bench(daemon: Daemon, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("DOCKER_HOST", daemon.url)
    engine = DockerEngine()
    engine.prepare(image, lambda done, total, text: None)
    (tmp_path / "out").mkdir()
    made = Bench(engine, image, tmp_path, hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12])
    yield made
    for running in made.running:
        running.stop(0)
        running.wait(30)
    made.running.clear()
    gc.collect()  # now, while the warning is expected


@pytest.mark.parametrize("daemon", [["--live-restore"]], indirect=True)
def test_a_container_that_outlives_the_daemon_is_followed_to_its_end(bench: Bench, daemon: Daemon) -> None:
    running = bench.start_python(LINES)
    wait_for_text(bench.log, "out 5\n")
    daemon.stop()
    time.sleep(1)
    daemon.start()
    outcome = running.wait(60)
    assert outcome is not None
    assert outcome.ok, outcome
    assert outcome.elapsed_s > 6
    lines = bench.log.read_text().splitlines()
    assert [line for line in lines if line.startswith("out")] == [f"out {n}" for n in range(60)]
    assert [line for line in lines if line.startswith("err")] == [f"err {n}" for n in range(60)]
    assert len(lines) == 120


@pytest.mark.parametrize("daemon", [[]], indirect=True)
def test_a_container_that_the_daemon_takes_with_it_is_lost(bench: Bench, daemon: Daemon) -> None:
    running = bench.start_python(LINES)
    wait_for_text(bench.log, "out 5\n")
    daemon.stop()
    daemon.start()
    outcome = running.wait(60)
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == (EndReason.LOST, None), outcome
    assert "daemon" in outcome.detail
    lines = bench.log.read_text().splitlines()
    assert 6 <= len([line for line in lines if line.startswith("out")]) < 60
    assert len(set(lines)) == len(lines)
