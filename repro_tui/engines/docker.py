"""The Docker engine: the assembled image loaded into a daemon of this machine, through the docker SDK for Python."""

from __future__ import annotations

import contextlib
import errno
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from repro_tui.engines import docker_running, guard, workers
from repro_tui.engines.base import Availability, ContainerSpec, Progress, Running, tmpfs_bytes
from repro_tui.engines.sandbox import HOSTNAME
from repro_tui.errors import DriftError, EngineError, InfrastructureError, StoreFullError
from repro_tui.images.model import Image

if TYPE_CHECKING:
    from docker import DockerClient

LABEL = "org.repro-tui.worker"
LABEL_RUN = "org.repro-tui.run"
_TIMEOUT_S = 60
_PING_TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the daemon is, as DOCKER_HOST, the current context of the command line client, or the default says."""

    url: str
    options: Mapping[str, Any]

    @classmethod
    def find(cls) -> Endpoint:
        """Find it the way the command line client does."""
        from docker.context import ContextAPI
        from docker.utils import kwargs_from_env

        options: dict[str, Any] = {**kwargs_from_env()}
        if "base_url" not in options:
            options |= ContextAPI.kwargs_from_context()
        url = str(options.setdefault("base_url", "unix:///var/run/docker.sock"))
        if url.startswith("http+unix://"):
            url = options["base_url"] = url.removeprefix("http+")
        return cls(url, options)

    def connect(self, timeout_s: int | None = _TIMEOUT_S) -> DockerClient:
        """Return a client; raises DockerException. None is no time limit, for calls as long as a container."""
        from docker import DockerClient

        return DockerClient(**self.options, timeout=timeout_s)  # type: ignore[arg-type]  # the stubs know no None

    @property
    def local(self) -> bool:
        """Whether it can see the folders of this machine."""
        parts = urlsplit(self.url)
        return parts.scheme == "unix" or parts.hostname in {"localhost", "127.0.0.1", "::1"}


class DockerEngine:
    """Containers of a Docker daemon on this machine."""

    name = "docker"

    def __init__(self) -> None:
        self._client: DockerClient | None = None
        self._rootless = False
        self._containerd = False

    def availability(self) -> Availability:
        """Ask the daemon for its version."""
        try:
            endpoint = Endpoint.find()
        except Exception as error:  # the context files are the user's, and the SDK raises what it likes
            return Availability(
                ok=False,
                reason=f"the Docker settings of this user cannot be read: {error}",
                remedy="Check DOCKER_HOST, DOCKER_CONTEXT and ~/.docker, or unset them",
            )
        host = endpoint.url
        if not endpoint.local:
            return Availability(
                ok=False,
                reason=f"the daemon at {host} is on another machine and cannot see the folders of this one",
                remedy="Unset DOCKER_HOST, or choose a context of this machine: docker context use default",
                host=host,
            )
        refused = _refusal(host)
        if refused is not None:
            return refused
        try:
            client = endpoint.connect(_PING_TIMEOUT_S)
            try:
                version = client.version()
            finally:
                client.close()
        except Exception as error:  # DockerException, and requests' errors for half-dead daemons
            return Availability(
                ok=False, reason=f"the daemon at {host} does not answer: {error}", remedy="Restart Docker", host=host
            )
        system = f"{version.get('Os')}/{version.get('Arch')}"
        return Availability(ok=True, reason=f"Docker {version.get('Version')} ({system}) at {host}", host=host)

    def capabilities(self) -> Mapping[str, str]:
        """Say what this daemon's kernel and settings hold."""
        try:
            info = self._connected().info()
        except Exception as error:
            return dict.fromkeys(_CAPABILITIES, f"not available ({error})")
        version = f"cgroup v{info.get('CgroupVersion', '1')}"
        security = " ".join(info.get("SecurityOptions") or ())
        nested = (
            "new user namespaces are refused by seccomp"
            if "name=seccomp" in security
            else "this daemon has no seccomp, so a process may make its own user namespace inside"
        )
        user = "the caller's uid, 1000 for root" if "name=rootless" not in security else "uid 0, mapped to the caller's"
        lacks = "not available (this daemon's kernel or control groups cannot)"
        return {
            "memory": f"enforced ({version})" if info.get("MemoryLimit") else lacks,
            "processes": f"enforced ({version})" if info.get("PidsLimit") else lacks,
            "cpus": f"enforced ({version} quota)" if info.get("CpuCfsQuota") else lacks,
            "time": "enforced (by the worker)",
            "network": "enforced (own network namespace with loopback only)",
            "root": "enforced (read-only root file system)",
            "user": f"enforced ({user}; no capabilities, no new privileges; {nested})",
            "devices": "enforced (Docker's default devices; no GPU)",
        }

    def prepare(self, image: Image, progress: Progress) -> None:
        """Load the image unless the daemon has it, and check that what it has is what was assembled."""
        client = self._connected()
        if self._loaded(client, image) is None:
            self._load(image, progress)
        held = self._loaded(client, image)
        if held is None:
            raise DriftError(
                f"Docker loaded image {image.name} under another ID than {image.config_digest}",
                component="image",
                where=image.name,
            )
        layers = _layers(held)
        if layers != image.diff_ids:
            raise DriftError(
                f"Docker's image {held.id} has layers {', '.join(layers)}; assembled were {', '.join(image.diff_ids)}",
                component="image",
                where=image.name,
                hint=f"Remove it (docker image rm {held.id}) and run again.",
            )
        progress(1, 1, image.name)

    def start(self, image: Image, spec: ContainerSpec) -> Running:
        """Start a container of the loaded image."""
        client = self._connected()
        held = self._loaded(client, image)
        if held is None:
            raise EngineError(
                f"image {image.name} is not in Docker; it was removed meanwhile", where=image.config_digest
            )
        guard.watch(f"+{spec.name}")
        owner = docker_running.OutputOwner.of(spec, rootless=self._rootless)
        try:
            container = _create(client, self._settings(held, spec, owner.user))
            try:
                owner.give()
                return docker_running.DockerRunning(client, Endpoint.find().connect(None), container.id, spec, owner)
            except BaseException:
                with contextlib.suppress(Exception):
                    container.remove(force=True, v=True)
                owner.take_back()
                raise
        except Exception as error:
            guard.watch(f"-{spec.name}")
            raise _engine_error(error, f"Docker did not start container {spec.name}") from error

    def sweep(self) -> list[str]:
        """Remove containers of dead workers of this machine."""
        try:
            client = self._connected()
            names = []
            for container in client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True):
                worker = workers.Worker.parse(container.labels.get(LABEL, ""))
                if worker is not None and worker.is_dead():
                    container.remove(force=True, v=True)
                    names.append(str(container.name))
        except Exception:  # a daemon that is not there has no leftovers to speak of
            return []
        return names

    def _connected(self) -> DockerClient:
        if self._client is None:
            available = self.availability()
            if not available.ok:
                raise EngineError(f"Docker does not work here: {available.reason}", hint=available.remedy)
            try:
                self._client = Endpoint.find().connect()
                info = self._client.info()
                self._rootless = "name=rootless" in " ".join(info.get("SecurityOptions") or ())
                self._containerd = "io.containerd.snapshotter" in str(info.get("DriverStatus"))
            except Exception as error:
                raise _engine_error(error, "Docker does not answer") from error
        return self._client

    def _loaded(self, client: DockerClient, image: Image) -> Any | None:
        """Return the daemon's image, None where it has it not.

        Its ID is the config digest. With the containerd store it is the digest of a manifest of Docker's own, so there
        the tag is asked, and believed where the layers are the assembled ones.
        """
        from docker.errors import DockerException, ImageNotFound

        for reference in (image.config_digest, tag(image)) if self._containerd else (image.config_digest,):
            try:
                held = client.images.get(reference)
            except ImageNotFound:
                continue
            except DockerException as error:
                raise _engine_error(error, "Docker cannot be asked for the image") from error
            if reference == image.config_digest or _layers(held) == image.diff_ids:
                return held
        return None

    @staticmethod
    def _load(image: Image, progress: Progress) -> None:
        from repro_tui.images import archive

        total = archive.archive_size_bytes(image)

        def counted(chunks: Iterable[bytes]) -> Iterator[bytes]:
            done = 0
            for chunk in chunks:
                done += len(chunk)
                progress(min(done, total), total, f"docker load {image.name}")
                yield chunk

        try:
            client = Endpoint.find().connect(None)
            try:
                load: Callable[..., Iterator[dict[str, Any]]] = client.api.load_image
                for answer in load(counted(archive.docker_archive(image, (tag(image),))), quiet=True):
                    if "error" in answer:
                        raise EngineError(f"Docker did not load image {image.name}: {answer['error']}")
            finally:
                client.close()
        except Exception as error:
            raise _engine_error(error, f"Docker did not load image {image.name}") from error

    @staticmethod
    def _settings(held: Any, spec: ContainerSpec, user: str) -> dict[str, Any]:
        from docker.types import LogConfig, Mount, Ulimit

        limits = spec.limits
        size = tmpfs_bytes(limits)
        variables = {**spec.environment, "HOSTNAME": HOSTNAME, "PWD": spec.cwd}
        inherited = [entry.partition("=")[0] for entry in held.attrs.get("Config", {}).get("Env") or ()]
        return {
            "image": held.id,
            "name": spec.name,
            "entrypoint": list(spec.argv),
            "command": [],
            # A name without "=" takes away what image or daemon would set.
            "environment": [
                *(f"{key}={value}" for key, value in variables.items()),
                *(key for key in {*inherited, "PATH"} if key not in variables),
            ],
            "use_config_proxy": False,
            "working_dir": spec.cwd,
            "hostname": HOSTNAME,
            "user": user,
            "network_mode": "bridge" if spec.network else "none",
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "init": True,
            "healthcheck": {"test": ["NONE"]},
            "pids_limit": limits.processes,
            "mem_limit": limits.memory_bytes,
            "memswap_limit": limits.memory_bytes,
            "nano_cpus": None if limits.cpus is None else int(limits.cpus * 1e9),
            "shm_size": limits.shared_memory_bytes or size,
            "tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={size}"},  # noqa: S108 - inside the container
            "ulimits": [Ulimit(name="core", soft=0, hard=0)],
            "mounts": [
                Mount(mount.target, str(mount.source.resolve()), type="bind", read_only=mount.read_only)
                for mount in spec.mounts
            ],
            # Everything is kept until the container is removed, so that a dropped stream can be made good.
            "log_config": LogConfig(type=LogConfig.types.JSON, config={"max-size": "1p", "max-file": "1"}),
            "labels": {LABEL: str(workers.current()), LABEL_RUN: spec.run_id},
            "stdin_open": False,
        }


def tag(image: Image) -> str:
    """Return the name under which Docker lists the image; without one `docker image prune` would take it."""
    return f"repro-tui/{image.name}:{image.config_digest.removeprefix('sha256:')[:12]}"


def _layers(held: Any) -> tuple[str, ...]:
    return tuple(held.attrs.get("RootFS", {}).get("Layers") or ())


_CAPABILITIES = ("memory", "processes", "cpus", "time", "network", "root", "user", "devices")


def remove(names: Sequence[str]) -> None:
    """Remove containers by name, whatever they do; what cannot be removed is left to `sweep`."""
    with contextlib.suppress(Exception):
        client = Endpoint.find().connect()
        for name in names:
            with contextlib.suppress(Exception):
                client.containers.get(name).remove(force=True, v=True)


def _create(client: DockerClient, settings: Mapping[str, Any]) -> Any:
    """Create the container; one of that name that a timed-out call or a dead worker of ours left gives way."""
    from docker.errors import APIError
    from requests.exceptions import Timeout

    for attempt in (1, 2):
        try:
            return client.containers.create(**settings)
        except APIError as error:
            if attempt == 2 or error.status_code != 409:
                raise
        except Timeout:
            if attempt == 2:
                raise
        with contextlib.suppress(Exception):
            there = client.containers.get(settings["name"])
            worker = workers.Worker.parse(there.labels.get(LABEL, ""))
            if worker is not None and (worker.is_dead() or worker == workers.current()):
                there.remove(force=True, v=True)
    raise AssertionError("the second attempt returns or raises")


def _refusal(host: str) -> Availability | None:
    """Say why nothing can be said to a local socket; None where something listens."""
    if not host.startswith("unix://"):
        return None
    path = host.removeprefix("unix://")
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PING_TIMEOUT_S)
            probe.connect(path)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM}:
            reason = f"permission denied on the socket {path}"
            remedy = "Add yourself to the group docker (sudo usermod -aG docker $USER), then log in again"
        elif shutil.which("dockerd") or shutil.which("docker"):
            reason = f"Docker is installed but no daemon answers at {path}"
            remedy = "Start it: sudo systemctl start docker (or, without systemd: sudo dockerd)"
        else:
            reason = f"Docker is not installed (no socket at {path})"
            remedy = "Install Docker if you want it: sudo apt-get install docker.io"
        return Availability(ok=False, reason=reason, remedy=remedy, host=host)
    return None


def _engine_error(error: Exception, what: str) -> InfrastructureError | DriftError:
    if isinstance(error, InfrastructureError | DriftError):
        return error
    text = getattr(error, "explanation", None) or str(error)
    if "no space left on device" in text:
        return StoreFullError(f"{what}: {text}", hint="Free space on Docker's disk: docker system prune")
    return EngineError(f"{what}: {text}")
