"""The Podman engine: the image in Podman's own storage, through its command line program; no service, no daemon."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from repro_tui.engines import guard, podman_arguments, podman_host, processes, sampling, workers
from repro_tui.engines.base import Availability, ContainerSpec, Limits, Progress, Running
from repro_tui.engines.docker_running import OutputOwner
from repro_tui.engines.gpus.requests import podman_request, podman_way
from repro_tui.engines.podman_command import LABEL, Podman, Refusal, environment, last_words
from repro_tui.engines.podman_running import PodmanRunning
from repro_tui.errors import DriftError, EngineError
from repro_tui.images.model import Image

_START_TIMEOUT_S = 300.0
_FOLDER = "repro-tui-podman-"
_BEING_MADE_S = 30.0
"""How long a start that outlived its worker is waited for."""


class PodmanEngine:
    """Containers of Podman, as root and as an ordinary user."""

    name = "podman"

    def __init__(self) -> None:
        self._found: podman_host.Host | None = None

    def availability(self) -> Availability:
        """Ask Podman how it is."""
        try:
            self._found = podman_host.examine()
        except Refusal as refusal:
            return Availability(ok=False, reason=str(refusal), remedy="Look at `podman info`")
        return self._found.availability

    def capabilities(self) -> Mapping[str, str]:
        """Say which limits the kernel holds, and which are only watched."""
        host = self._host()
        about = host.info.get("host", {})
        version = f"cgroup {about.get('cgroupVersion')}"
        sampled = (
            f"sampled ({version} lets this user's Podman hold no limits; looked at every {sampling.SAMPLE_S} s, "
            "killed past the limit)"
        )
        nested = (
            "new user namespaces are refused by seccomp"
            if host.seccomp is not None
            else "this Podman has no seccomp, so a process may make its own user namespace inside"
        )
        user = "the caller's uid, in a user namespace" if host.rootless else "uid 1000"
        return {
            "memory": f"enforced ({version})" if "memory" in host.held else sampled,
            "processes": f"enforced ({version})" if "pids" in host.held else sampled,
            "cpus": f"enforced ({version} quota)" if "cpu" in host.held else "enforced (whole CPUs, by affinity)",
            "time": "enforced (by the worker)",
            "network": "enforced (own network namespace with loopback only)",
            "root": "enforced (read-only root file system)",
            "user": f"enforced ({user}; no capabilities, no new privileges; {nested})",
            "devices": "enforced (Podman's default devices, and the GPUs it is given)",
            "gpus": podman_way(_version(host), rootless=host.rootless).capability,
        }

    def prepare(self, image: Image, progress: Progress) -> None:
        """Put the image into Podman's storage unless it is there, and check that it is what was assembled."""
        host, podman = self._working()
        try:
            held = _held(podman, image)
            if held is None:
                _pull(podman, image, progress)
                held = _held(podman, image)
            if held is None:
                raise DriftError(
                    f"Podman holds image {image.name} under another ID than {image.config_digest}",
                    component="image",
                    where=image.name,
                )
            layers = tuple(held.get("RootFS", {}).get("Layers") or ())
            if layers != image.diff_ids:
                raise DriftError(
                    f"Podman's image {held['Id']} has layers {', '.join(layers)}; "
                    f"pinned are {', '.join(image.diff_ids)}",
                    component="image",
                    where=image.name,
                    hint=f"Remove it (podman image rm --force {held['Id']}) and run again.",
                )
            if tag(image) not in (held.get("RepoTags") or ()):
                podman.call("tag", held["Id"], tag(image))
            if host.rootless:
                progress(0, 0, f"podman: {image.name} for this user's uid")
                _own(podman, held["Id"])
        except Refusal as refusal:
            raise refusal.error(f"Podman did not take image {image.name}") from refusal
        progress(1, 1, image.name)

    def start(self, image: Image, spec: ContainerSpec) -> Running:
        """Start a container of the image."""
        host, podman = self._working()
        owner = OutputOwner.of(spec, rootless=False)
        setting = podman_arguments.Setting(_hex(image), owner.user, host.rootless, host.held, host.init, host.seccomp)
        what = f"Podman did not start container {spec.name}"
        wanted = None if spec.gpus is None else podman_request(spec.gpus, _version(host), rootless=host.rootless)
        if wanted is not None:
            podman = replace(podman, options=(*podman.options, *wanted.options))
        with tempfile.TemporaryDirectory(prefix=_folder_prefix()) as name:
            folder = Path(name)
            podman_arguments.furnish(spec, setting, folder)
            arguments = podman_arguments.arguments(spec, setting, folder)
            if wanted is not None:
                arguments = [*wanted.arguments, *arguments]
            guard.watch(f"+podman/{spec.name}")
            try:
                owner.give()
                try:
                    log_start = _run(podman, spec, arguments, allowed=_cpus(spec.limits, host))
                except Refusal as refusal:
                    if "already in use" not in str(refusal) or not _remove_own(podman, spec.name):
                        raise
                    log_start = _run(podman, spec, arguments, allowed=_cpus(spec.limits, host))
                first = processes.Process.of(int((folder / "first").read_text()))
                monitor = int((folder / "monitor").read_text())
            except BaseException as error:
                owner.take_back()
                with contextlib.suppress(Refusal):
                    podman.remove([spec.name])
                    guard.watch(f"-podman/{spec.name}")
                if not isinstance(error, Refusal):
                    raise
                if error.no_such and _held(podman, image) is None:
                    raise EngineError(
                        f"image {image.name} is not in Podman; it was removed meanwhile", where=image.config_digest
                    ) from error
                raise error.error(what) from error
        return PodmanRunning(podman, spec, owner, monitor=monitor, first=first, held=host.held, log_start=log_start)

    def sweep(self) -> list[str]:
        """Remove containers of dead workers of this machine."""
        _sweep_folders()
        found = self._host()
        if found.podman is None:
            return []
        try:
            dead = [
                str(container["Names"][0])
                for container in found.podman.ask("ps", "--all", f"--filter=label={LABEL}", "--format=json") or ()
                if (worker := workers.Worker.parse((container.get("Labels") or {}).get(LABEL, ""))) is not None
                and worker.is_dead()
            ]
            if dead:
                found.podman.remove(dead)
        except Refusal:  # it says so again where something is started
            return []
        return dead

    def _host(self) -> podman_host.Host:
        if self._found is None:
            self.availability()
        return self._found or podman_host.Host(Availability(ok=False, reason="Podman does not answer"))

    def _working(self) -> tuple[podman_host.Host, Podman]:
        host = self._host()
        if host.podman is None:
            answer = host.availability
            raise EngineError(f"Podman does not work here: {answer.reason}", hint=answer.remedy)
        return host, host.podman


def tag(image: Image) -> str:
    """Return the name under which Podman lists the image; without one `podman image prune` would take it."""
    return f"localhost/repro-tui/{image.name}:{_hex(image)[:12]}"


def remove(names: Sequence[str]) -> None:
    """Remove a dead worker's containers, those too that a podman which outlived it is still making."""
    podman = podman_host.examine().podman
    if podman is None:
        return
    deadline = time.monotonic() + _BEING_MADE_S
    while _being_made(names) and time.monotonic() < deadline:
        time.sleep(0.05)
    for name in names:
        with contextlib.suppress(Refusal):
            podman.remove([name])


def _folder_prefix() -> str:
    """Return how our temporary folders begin: with whose they are, so that those of a dead worker can be told."""
    worker = workers.current()
    return f"{_FOLDER}{worker.pid}-{worker.start_ticks}-"


def _sweep_folders() -> None:
    here = workers.current()
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*-*"):
        pid, ticks = folder.name.removeprefix(_FOLDER).split("-")[:2]
        if pid.isdecimal() and ticks.isdecimal() and replace(here, pid=int(pid), start_ticks=int(ticks)).is_dead():
            with contextlib.suppress(OSError):
                if folder.lstat().st_uid == os.geteuid():
                    shutil.rmtree(folder, ignore_errors=True)


def _being_made(names: Sequence[str]) -> bool:
    wanted = {f"--name={name}".encode() for name in names}
    for folder in Path("/proc").glob("[1-9]*"):
        with contextlib.suppress(OSError):
            if not wanted.isdisjoint((folder / "cmdline").read_bytes().split(b"\0")):
                return True
    return False


def _hex(image: Image) -> str:
    return image.config_digest.removeprefix("sha256:")


def _held(podman: Podman, image: Image) -> dict[str, Any] | None:
    """Return Podman's image, whose ID is the config digest; None where it has it not."""
    try:
        (found,) = podman.ask("image", "inspect", _hex(image))
    except Refusal as refusal:
        if refusal.no_such:
            return None
        raise
    return dict(found)


def _pull(podman: Podman, image: Image, progress: Progress) -> None:
    """Copy the image from its layout into Podman's storage, blob by blob, digests checked by Podman.

    The layout is shown to Podman through a folder of ours with a plain name: Podman takes the image's first name from
    the path, which may hold anything.
    """
    name = f"repro-tui-{_hex(image)[:12]}"
    total = sum(layer.size_bytes for layer in image.layers)
    sizes = {layer.blob: layer.size_bytes for layer in image.layers}
    with tempfile.TemporaryDirectory(prefix=_folder_prefix()) as folder:
        try:
            _layout(image, Path(folder, name))
        except (OSError, ValueError) as error:
            raise EngineError(
                f"the layout of image {image.name} cannot be read: {error}", where=str(image.layout)
            ) from error
        process = subprocess.Popen(
            podman.command("pull", f"oci:{name}"), cwd=folder, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip
        said: list[str] = []
        done = 0
        with process:
            for line in process.stderr or ():
                said.append(line)
                words = line.split()
                if words[:2] == ["Copying", "blob"] and len(words) > 2:
                    progress(done, total, f"podman pull {image.name}")
                    done += sizes.pop(words[2], 0)
    if process.returncode:
        raise Refusal(last_words("".join(said)) or f"podman pull ended with {process.returncode}")
    podman.call("tag", _hex(image), tag(image))
    with contextlib.suppress(Refusal):  # later versions give none where the path is all they know
        podman.call("untag", _hex(image), f"localhost/{name}")


def _layout(image: Image, folder: Path) -> None:
    """Make a layout of this one image, whose blobs are those of the image's own layout."""
    index = json.loads((image.layout / "index.json").read_text())
    chosen = [entry for entry in index["manifests"] if entry["digest"] == image.manifest_digest]
    if not chosen:
        raise ValueError(f"its index does not list {image.manifest_digest}")
    folder.mkdir()
    (folder / "index.json").write_text(json.dumps({**index, "manifests": chosen}))
    (folder / "oci-layout").write_text((image.layout / "oci-layout").read_text())
    (folder / "blobs").symlink_to((image.layout / "blobs").resolve())


def _own(podman: Podman, image_id: str) -> None:
    """Let Podman make its copy of the image for this user's uid, which the first container would wait for."""
    name = f"repro-tui-prepare-{os.getpid()}-{time.monotonic_ns()}"
    given = ["--pull=never", "--userns=keep-id", f"--name={name}", f"--label={LABEL}={workers.current()}"]
    podman.call("create", *given, image_id, "none", timeout_s=None)
    podman.remove([name])


def _version(host: podman_host.Host) -> str:
    return str(host.info.get("version", {}).get("Version", ""))


def _run(podman: Podman, spec: ContainerSpec, arguments: Sequence[str], *, allowed: set[int] | None) -> int:
    """Start the container with the log as its output; return where in the log that begins. Raises Refusal."""
    log = os.open(spec.log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        start = os.fstat(log).st_size
        with _on(allowed):
            try:
                done = subprocess.run(
                    podman.command("--log-level=error", "run", *arguments), cwd="/", env=environment(),
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=_START_TIMEOUT_S, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise Refusal(f"it took longer than {_START_TIMEOUT_S:g} s") from None
            except OSError as error:
                raise Refusal(f"{podman.program} cannot be started: {error.strerror}") from error
        if done.returncode:  # nothing ran, so what was written is Podman's
            said = os.pread(log, 1 << 16, start).decode(errors="replace")
            os.ftruncate(log, start)
            raise Refusal(last_words(said) or f"podman run ended with {done.returncode}")
        return start
    finally:
        os.close(log)


def _remove_own(podman: Podman, name: str) -> bool:
    """Remove a container of this name that a dead worker or a start of ours left; say whether it was one."""
    with contextlib.suppress(Refusal):
        (found,) = podman.ask("container", "inspect", name)
        worker = workers.Worker.parse((found["Config"].get("Labels") or {}).get(LABEL, ""))
        if worker is not None and (worker.is_dead() or worker == workers.current()):
            podman.remove([name])
            return True
    return False


def _cpus(limits: Limits, host: podman_host.Host) -> set[int] | None:
    """Return the CPUs for a container whose share the kernel does not hold; None for all."""
    if limits.cpus is None or "cpu" in host.held:
        return None
    return processes.some_cpus(limits.cpus)


@contextlib.contextmanager
def _on(cpus: set[int] | None) -> Iterator[None]:
    """Let what this thread starts run on these CPUs only."""
    before = os.sched_getaffinity(0)
    if cpus is not None:
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
