"""The worker is killed with SIGKILL in each stage, or its foreground is: nothing is left, the next run is REPRODUCED."""

from __future__ import annotations

import http.server
import os
import signal
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from repro_tui.artifacts.store import remove_tree
from tests.system.conftest import World
from tests.system.lab import Going, Lab, Result, alive, clone_store, nothing_left, processes_with, wait_until


def kill_and_run_again(lab: Lab, going: Going, *options: str) -> Result:
    """Kill the worker, and see what the foreground says and what the next run makes of it."""
    going.kill_worker()
    done = going.end().expect(3)
    assert done.out == ""
    assert "was killed by signal 9" in done.err
    assert "run it again" in done.err
    assert not (going.run / "report.json").exists()
    nothing_left(going.run, going.run.name)
    shown = lab.command("show", str(going.run))
    assert shown.code == 0
    assert "DIED" in shown.out
    again = lab.expect_reproduced(*options)
    scratch = lab.store / "scratch"
    assert not scratch.exists() or not list(scratch.iterdir()), "the next run sweeps what the dead one left"
    return again


@pytest.mark.parametrize("stage", ["resolve", "environment", "verify", "report"])
def test_killed_in_a_short_stage(lab: Lab, stage: str) -> None:
    """The worker is stopped as soon as the stage is in its journal, which may be a little later than that stage."""
    lab.write()
    process = lab.start(*lab.words())
    wait_until(lambda: lab.run_folders() or process.poll() is not None)
    (run,) = lab.run_folders()
    going = Going(process, run)
    going.wait_for("stage_started", stage=stage)
    os.kill(going.worker(), signal.SIGSTOP)
    if any(event["kind"] == "run_finished" for event in going.events()):
        os.kill(going.worker(), signal.SIGCONT)
        going.end()
        pytest.skip("the run was over before it could be stopped")
    kill_and_run_again(lab, going)


@pytest.mark.parametrize("when", ["unpacking", "writing the root", "compiling"])
def test_killed_while_the_image_is_assembled(lab: Lab, tmp_path: Path, when: str) -> None:
    warm, lab.store = lab.store, tmp_path / "store"
    if when != "unpacking":
        clone_store(warm, lab.store)
        remove_tree(lab.store / "derived/images")
        for layer in (lab.store / "derived/layers").iterdir():
            if when == "compiling" and not list(layer.glob("*base*")):
                remove_tree(layer)
    going = lab.begin("--offline")
    wait_until(
        lambda: any(
            event["kind"] == "stage_progress" and when in event["text"] for event in going.events()
        ) or going.process.poll() is not None
    )  # fmt: skip
    kill_and_run_again(lab, going, "--offline")
    nothing_left(lab.store)


class _Slow(http.server.BaseHTTPRequestHandler):
    """Serves half of a file and then nothing more until it is told to."""

    content = b""
    go_on = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        half = len(self.content) // 2
        self.wfile.write(self.content[:half])
        self.wfile.flush()
        self.go_on.wait(60)
        self.wfile.write(self.content[half:])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that was killed is no error here."""


@contextmanager
def slow_source(content: bytes) -> Iterator[tuple[str, threading.Event]]:
    """Serve a file on the loopback, haltingly; the event lets it come whole."""
    go_on = threading.Event()
    handler = type("Handler", (_Slow,), {"content": content, "go_on": go_on})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/train.tsv", go_on
    finally:
        go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def test_killed_while_an_artifact_is_fetched(lab: Lab, tmp_path: Path) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    artifact = lab.artifact("train")
    (lab.store / "blobs" / artifact["sha256"]).unlink()
    with slow_source((lab.folder / "data/train.tsv").read_bytes()) as (url, go_on):
        artifact["sources"] = [{"type": "https", "url": url}]
        going = lab.begin()
        going.wait_for("stage_started", stage="artifacts")
        wait_until(lambda: any(path.is_file() for path in (lab.store / "partial").glob("*")))
        threading.Timer(1.0, go_on.set).start()
        os.kill(going.worker(), signal.SIGSTOP)
        kill_and_run_again(lab, going)


@pytest.mark.parametrize("phase", ["train", "evaluate"])
def test_killed_while_it_trains(lab: Lab, phase: str) -> None:
    recorded = lab.manifest
    lab.manifest = {**recorded}
    code = (lab.folder / "code/train.py").read_text()
    lab.script(f"tell('phase', phase='{phase}')\ntell('step', step=1, total=2, loss=0.5)\nos.fork()\ntime.sleep(120)\n")
    going = lab.begin()
    going.wait_for("stage_started", stage=phase)
    wait_until((going.run / "out/metrics.jsonl").exists)
    wait_until(lambda: len(processes_with(going.run.name)) >= 3)
    (lab.folder / "code/train.py").write_text(code)
    lab.manifest = recorded
    lab.repin_code()
    kill_and_run_again(lab, going)


def test_the_worker_outlives_its_foreground(lab: Lab) -> None:
    lab.script("time.sleep(2)\ntell('metric', name='accuracy', value=0.75)\n")
    going = lab.begin()
    worker = going.worker()
    going.process.kill()
    going.process.communicate()
    assert alive(worker)
    attached = lab.command("attach", str(going.run), "--json")
    attached.expect(0, "REPRODUCED")
    nothing_left(going.run)


def test_the_worker_outlives_its_terminal(lab: Lab) -> None:
    lab.script("time.sleep(1)\ntell('metric', name='accuracy', value=0.75)\n")
    lab.write()
    process = lab.start(*lab.words(), start_new_session=True)
    wait_until(lab.run_folders)
    (run,) = lab.run_folders()
    going = Going(process, run)
    going.wait_for("stage_started", stage="train")
    os.killpg(process.pid, signal.SIGHUP)
    process.communicate()
    assert process.returncode == -signal.SIGHUP
    lab.command("attach", str(run), "--json").expect(0, "REPRODUCED")


# --- two at once ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["warm", "cold"])
def test_two_runs_of_one_manifest_at_once(lab: Lab, world: World, tmp_path: Path, store: str) -> None:
    if store == "cold":
        lab.store = tmp_path / "store"
    lab.write()
    started = time.monotonic()
    both = [lab.start(*lab.words("--offline")) for _ in range(2)]
    ended = [Result(process.returncode, *streams) for process in both for streams in [process.communicate(timeout=120)]]
    digests = {done.expect(0, "REPRODUCED").report["image"]["manifest_digest"] for done in ended}
    assert digests == {world.manifest["image"]["manifest_digest"]}
    assert len({done.report["run"]["id"] for done in ended}) == 2
    assert time.monotonic() - started < 120
