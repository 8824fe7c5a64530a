"""A Docker daemon that is started again while a container runs; Podman and the embedded engine have no daemon."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from repro_tui.engines.base import EndReason
from repro_tui.engines.docker import DockerEngine
from repro_tui.images.model import Image
from tests.engines.docker_daemons import Daemon, require_root, short_folder
from tests.engines.engine_bench import Bench, wait_for

pytestmark = [
    pytest.mark.engine,
    # The SDK leaves sockets to the garbage collector, which warns, when a connection is refused.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LINES = 300
CODE = (
    f"import os, time\nfor n in range({LINES}):\n"
    "    os.write(1, b'out %d\\n' % n); os.write(2, b'err %d\\n' % n); time.sleep(0.02)\n"
    "open('/out/end', 'w').close()"
)


@pytest.mark.parametrize("live_restore", [True, False], ids=["live-restore", "without"])
def test_a_daemon_that_is_started_again_in_mid_run(
    live_restore: bool, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With live-restore the container goes on and nothing is missing; without, its end is told and is no success."""
    require_root()
    daemon = Daemon(short_folder("docker"), None, settings={"live-restore": live_restore})
    (tmp_path / "out").mkdir()
    try:
        daemon.start()
        monkeypatch.setenv("DOCKER_HOST", daemon.unix)
        engine = DockerEngine()
        engine.prepare(image, lambda done, total, text: None)
        bench = Bench(engine, image, tmp_path, f"again-{live_restore}".lower())
        running = bench.start_python(CODE)
        wait_for(lambda: bench.log.read_bytes().count(b"\n") > 50, "the container writes", 30)
        daemon.restart()
        outcome = running.wait(90)
    finally:
        daemon.remove()
    assert outcome is not None
    lines = bench.log.read_text().splitlines()
    out, err = ([line for line in lines if line.startswith(name)] for name in ("out", "err"))
    assert out == [f"out {n}" for n in range(len(out))]
    assert err == [f"err {n}" for n in range(len(err))]
    assert len(lines) == len(out) + len(err)
    if live_restore:
        assert outcome.ok, outcome
        assert (len(out), len(err)) == (LINES, LINES)
        assert (bench.out / "end").exists()
    else:
        assert (outcome.reason, outcome.exit_code) == (EndReason.LOST, None), outcome
        assert "daemon" in outcome.detail
        assert 25 <= len(out) < LINES
    gc.collect()  # what the SDK left, while that is no error
