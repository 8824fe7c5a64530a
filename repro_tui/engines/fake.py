"""An engine without containers, for tests: host processes or Python functions, and every way to end at will."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from repro_tui.engines import processes
from repro_tui.engines.base import Availability, ContainerSpec, EndReason, Outcome, Progress, Running, Usage
from repro_tui.errors import EngineError
from repro_tui.images.model import Image

_PLACES = re.compile(r"(?<![\w./-])/(?:inputs|code|job|out|tmp)(?![\w-])")


@dataclass
class FakeContainer:
    """What a behaviour gets: the specification, host paths of what is mounted, the log, and whether it is to stop."""

    spec: ContainerSpec
    place: Path
    """Host folder that stands for the container's /."""
    stopped: threading.Event = field(default_factory=threading.Event)
    process: subprocess.Popen[bytes] | None = None
    ended: tuple[EndReason, str] | None = None

    def path(self, target: str) -> Path:
        """Return the host path of a path inside the container."""
        return self.place / target.lstrip("/")

    def mapped(self, text: str) -> str:
        """Return the text with the container's paths replaced by host paths."""
        return _PLACES.sub(lambda found: f"{self.place}{found[0]}", text)

    def log(self, text: str) -> None:
        """Append to the log as the container's output."""
        with self.spec.log.open("a") as file:
            file.write(text)


Behaviour = Callable[[FakeContainer], "int | Outcome"]
"""Runs in a thread of its own; returns the exit code, or the whole outcome."""


def host_process(container: FakeContainer) -> int:
    """Run the argument vector on the host, with the container's paths in it and its environment replaced."""
    argv = [container.mapped(word) for word in container.spec.argv]
    if argv[0] in {"python3", "/usr/bin/python3", "/usr/local/bin/python3"}:
        argv[0] = sys.executable
    with container.spec.log.open("ab") as log:
        container.process = subprocess.Popen(
            argv,
            env={key: container.mapped(value) for key, value in container.spec.environment.items()},
            cwd=container.mapped(container.spec.cwd),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    if container.stopped.is_set():
        _signal(container, signal.SIGKILL)
    returned = container.process.wait()
    return returned if returned >= 0 else 128 - returned


def out_of_memory(container: FakeContainer) -> Outcome:
    """End as a container does that the kernel killed at its memory limit."""
    limit = container.spec.limits.memory_bytes or 0
    return Outcome(EndReason.OUT_OF_MEMORY, 137, 0.0, limit, "the kernel killed processes at the memory limit")


def lost(container: FakeContainer) -> Outcome:
    """End as a container does whose engine went away."""
    return Outcome(EndReason.LOST, None, 0.0, 0, f"container {container.spec.name} was removed behind our back")


def hang(container: FakeContainer) -> int:
    """Do nothing until stopped."""
    container.stopped.wait()
    return 143


class FakeEngine:
    """An engine whose containers do what a test says; a host process without anything said.

    `behaviours` maps the end of a container's name ("train") to what it does. `available` is what it says of itself.
    """

    name = "fake"

    def __init__(
        self, behaviours: Mapping[str, Behaviour] | None = None, available: Availability | None = None
    ) -> None:
        self.behaviours = dict(behaviours or {})
        self.available = available or Availability(ok=True, reason="a fake engine for tests")
        self.started: list[ContainerSpec] = []

    def availability(self) -> Availability:
        """Say what the test said."""
        return self.available

    def capabilities(self) -> Mapping[str, str]:
        """Hold nothing but time."""
        names = ("memory", "processes", "cpus", "network", "root", "user", "devices", "gpus")
        return {**dict.fromkeys(names, "not available (fake)"), "time": "enforced (by the worker)"}

    def prepare(self, image: Image, progress: Progress) -> None:
        """Need no image."""
        progress(1, 1, image.name)

    def start(self, image: Image, spec: ContainerSpec) -> Running:
        """Start the behaviour for this container's name; raises EngineError for what a real engine could not mount."""
        del image
        self.started.append(spec)
        behaviour = next((each for end, each in self.behaviours.items() if spec.name.endswith(end)), host_process)
        return FakeRunning(spec, behaviour)

    def sweep(self) -> list[str]:
        """Leave nothing behind, so find nothing."""
        return []


class FakeRunning:
    """A behaviour in a thread."""

    def __init__(self, spec: ContainerSpec, behaviour: Behaviour) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="repro-tui-fake-")
        self._container = FakeContainer(spec, Path(self._scratch.name))
        try:
            _lay_out(self._container)
        except BaseException:
            self._scratch.cleanup()
            raise
        spec.log.touch()
        self._behaviour = behaviour
        self._started = time.monotonic()
        self._outcome: Outcome | None = None
        self._ended = threading.Event()
        if spec.limits.time_s is not None:
            self._later(spec.limits.time_s, lambda: self._end(EndReason.TIME_LIMIT, 0))
        threading.Thread(target=self._run, name=f"fake {spec.name}", daemon=True).start()

    def wait(self, timeout_s: float | None = None) -> Outcome | None:
        """Return the outcome, None when `timeout_s` passed first."""
        self._ended.wait(timeout_s)
        return self._outcome

    def stop(self, grace_s: float) -> None:
        """Tell the behaviour to stop; its process gets SIGTERM, and SIGKILL after `grace_s`."""
        self._end(EndReason.STOPPED, grace_s)
        if grace_s <= 0:
            _signal(self._container, signal.SIGKILL)

    def usage(self) -> Usage | None:
        """Return what the host process uses, None for a function."""
        process = self._container.process
        return processes.usage(process.pid) if process is not None and process.poll() is None else None

    def _run(self) -> None:
        try:
            result = self._behaviour(self._container)
        except Exception as error:
            result = Outcome(EndReason.LOST, None, 0.0, 0, repr(error))
        elapsed_s = time.monotonic() - self._started
        if isinstance(result, Outcome):
            outcome = Outcome(result.reason, result.exit_code, elapsed_s, result.peak_memory_bytes, result.detail)
        else:
            reason = EndReason.SIGNALLED if 128 < result <= 192 else EndReason.EXITED
            outcome = Outcome(reason, result, elapsed_s)
        if self._container.ended is not None:
            reason, detail = self._container.ended
            outcome = Outcome(reason, outcome.exit_code, elapsed_s, outcome.peak_memory_bytes, detail)
        self._scratch.cleanup()
        self._outcome = outcome
        self._ended.set()

    def _end(self, reason: EndReason, grace_s: float) -> None:
        if self._container.ended is None and not self._ended.is_set():
            self._container.ended = (reason, "" if reason is EndReason.STOPPED else "the time limit is reached")
            self._container.stopped.set()
            _signal(self._container, signal.SIGTERM if grace_s > 0 else signal.SIGKILL)
            if grace_s > 0:
                self._later(grace_s, lambda: _signal(self._container, signal.SIGKILL))

    def _later(self, delay_s: float, action: Callable[[], object]) -> None:
        timer = threading.Timer(delay_s, action)
        timer.daemon = True
        timer.start()


def _signal(container: FakeContainer, number: signal.Signals) -> None:
    if container.process is not None and container.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(container.process.pid, number)


def _lay_out(container: FakeContainer) -> None:
    """Make the container's folders under its place, as links to what is mounted; job files as mapped copies."""
    for name in ("inputs", "code", "job", "out", "tmp"):
        if not any(mount.target == f"/{name}" for mount in container.spec.mounts):
            (container.place / name).mkdir()
    for mount in container.spec.mounts:
        if not mount.source.exists():
            raise EngineError(f"cannot mount {mount.source} on {mount.target}: it is not there")
        sources = {container.path(mount.target): mount.source}
        if mount.target == "/job" and mount.source.is_dir():
            sources = {container.path(f"/job/{source.name}"): source for source in mount.source.iterdir()}
        for link, source in sources.items():
            link.parent.mkdir(parents=True, exist_ok=True)
            if mount.target.startswith("/job") and source.suffix == ".json":
                link.write_text(container.mapped(source.read_text()))
            else:
                link.symlink_to(source.resolve())
