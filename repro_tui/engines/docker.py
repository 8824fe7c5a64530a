"""The Docker engine, through the docker SDK for Python: a daemon of this machine or of another."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from repro_tui.engines import docker_images, docker_running, docker_spec, docker_volumes, guard, workers
from repro_tui.engines.base import Availability, ContainerSpec, Progress, Running
from repro_tui.engines.docker_endpoint import Endpoint
from repro_tui.engines.docker_errors import engine_error
from repro_tui.engines.docker_images import tag
from repro_tui.engines.docker_volumes import LABEL
from repro_tui.engines.gpus.discover import discover
from repro_tui.engines.gpus.requests import docker_settings, docker_way
from repro_tui.errors import EngineError
from repro_tui.images.model import Image

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["DockerEngine", "Endpoint", "remove", "tag"]


class DockerEngine:
    """Containers of the Docker daemon that the user's settings name."""

    name = "docker"

    def __init__(self) -> None:
        self._client: DockerClient | None = None
        self._rootless = False
        self._containerd = False
        self._here = False
        """Whether the daemon sees the folders of this machine, as far as that is known."""
        self._proved = False

    def availability(self) -> Availability:
        """Ask the daemon for its version."""
        try:
            endpoint = Endpoint.find()
        except Exception as error:  # the context files are the user's, and the SDK raises what it likes
            return Availability(
                ok=False,
                reason=f"the Docker settings of this user cannot be read: {error}",
                remedy="Check DOCKER_HOST, DOCKER_CONTEXT and ~/.docker (docker context ls), or unset them",
            )
        return endpoint.availability()

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
        filtered = "name=seccomp" in security and int(str(info.get("ServerVersion") or "0").partition(".")[0]) >= 23
        below = (
            "" if filtered else "; AF_VSOCK, which leads from a virtual machine to its host, is not refused before 23"
        )
        lacks = "not available (this daemon's kernel or control groups cannot)"
        return {
            "memory": f"enforced ({version})" if info.get("MemoryLimit") else lacks,
            "processes": f"enforced ({version})" if info.get("PidsLimit") else lacks,
            "cpus": f"enforced ({version} quota)" if info.get("CpuCfsQuota") else lacks,
            "time": "enforced (by the worker)",
            "network": f"enforced (own network namespace with loopback only{below})",
            "root": "enforced (read-only root file system)",
            "user": f"enforced ({user}; no capabilities, no new privileges; {nested})",
            "devices": "enforced (Docker's default devices, and the GPUs it is given)",
            "gpus": docker_way(info, local=self._here).capability,
        }

    def prepare(self, image: Image, progress: Progress) -> None:
        """Load the image unless the daemon has it, and check that what it has is the image."""
        client = self._connected()
        held = docker_images.find(client, image, containerd=self._containerd)
        if held is None:
            with contextlib.closing(Endpoint.find().connect(None)) as patient:
                docker_images.load(patient, image, progress)
            held = docker_images.find(client, image, containerd=self._containerd)
        docker_images.check(held, image)
        progress(1, 1, image.name)

    def start(self, image: Image, spec: ContainerSpec) -> Running:
        """Start a container of the image, on folders of this machine where the daemon sees them, else on volumes."""
        client = self._connected()
        held = docker_images.find(client, image, containerd=self._containerd)
        if held is None:
            raise EngineError(
                f"image {image.name} is not in Docker; it was removed meanwhile", where=image.config_digest
            )
        for mount in spec.mounts:
            if not mount.source.exists():
                raise EngineError(f"there is no {mount.source} to mount at {mount.target}", where=str(mount.source))
        guard.watch(f"+{spec.name}")
        try:
            running = self._start_here(client, held, spec) if self._here else None
            if running is None:
                self._here = False
                running = self._start_there(client, held, spec)
        except Exception as error:
            guard.watch(f"-{spec.name}")
            raise engine_error(error, f"Docker did not start container {spec.name}") from error
        return running

    def _start_here(self, client: DockerClient, held: Any, spec: ContainerSpec) -> Running | None:
        """Start it on folders of this machine; None where the daemon turns out not to see them."""
        from docker.errors import APIError

        owner = docker_running.OutputOwner.of(spec, rootless=self._rootless)
        settings = docker_spec.settings(held, spec, owner.user, docker_spec.binds(spec))
        try:
            container = docker_spec.create(client, {**settings, **_gpu_settings(client, spec, here=True)})
        except APIError as error:
            if self._proved or docker_spec.NOT_SEEN not in str(error.explanation):
                raise
            return None
        try:
            if not self._proved and not docker_volumes.sees(client, container.id, spec.mounts):
                container.remove(force=True, v=True)
                return None
            self._proved = True
            owner.give()
            return docker_running.DockerRunning(client, Endpoint.find().connect(None), container.id, spec, owner)
        except BaseException:
            with contextlib.suppress(Exception):
                container.remove(force=True, v=True)
            owner.take_back()
            raise

    def _start_there(self, client: DockerClient, held: Any, spec: ContainerSpec) -> Running:
        """Send what it reads, start it, and fetch what it writes."""
        owner = docker_running.OutputOwner.there(rootless=self._rootless)
        streams = Endpoint.find().connect(None)
        try:
            volumes = docker_volumes.Volumes(client, streams, held.id, spec, owner.user)
            try:
                settings = docker_spec.settings(held, spec, owner.user, volumes.mounts)
                container = docker_spec.create(client, {**settings, **_gpu_settings(client, spec, here=False)})
                try:
                    return docker_running.DockerRunning(client, streams, container.id, spec, owner, volumes=volumes)
                except BaseException:
                    with contextlib.suppress(Exception):
                        container.remove(force=True, v=True)
                    raise
            except BaseException:
                volumes.remove()
                raise
        except BaseException:
            streams.close()
            raise

    def sweep(self) -> list[str]:
        """Remove containers of dead workers of this machine."""
        try:
            client = self._connected()
            names = []
            for container in client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True):
                worker = workers.Worker.parse(container.labels.get(LABEL, ""))
                if worker is not None and worker.is_dead():
                    container.remove(force=True, v=True)
                    if not str(container.name).endswith(docker_volumes.CARRIER):
                        names.append(str(container.name))
            docker_volumes.sweep(client)
        except Exception:  # a daemon that is not there has no leftovers to speak of
            return []
        return names

    def _connected(self) -> DockerClient:
        if self._client is None:
            available = self.availability()
            if not available.ok:
                raise EngineError(f"Docker does not work here: {available.reason}", hint=available.remedy)
            try:
                endpoint = Endpoint.find()
                self._client = endpoint.connect()
                info = self._client.info()
                self._here = endpoint.may_be_here(str(info.get("Name")))
                self._rootless = "name=rootless" in " ".join(info.get("SecurityOptions") or ())
                self._containerd = "io.containerd.snapshotter" in str(info.get("DriverStatus"))
            except Exception as error:
                raise engine_error(error, "Docker does not answer") from error
        return self._client


def _gpu_settings(client: DockerClient, spec: ContainerSpec, *, here: bool) -> dict[str, Any]:
    if spec.gpus is None:
        return {}
    found = discover() if here else None
    return docker_settings(docker_way(client.info(), local=here, found=found), spec.gpus, found)


_CAPABILITIES = ("memory", "processes", "cpus", "time", "network", "root", "user", "devices", "gpus")


def remove(names: Sequence[str]) -> None:
    """Remove containers by name with all that is theirs; what cannot be removed is left to `sweep`."""
    with contextlib.suppress(Exception):
        client = Endpoint.find().connect()
        for name in names:
            with contextlib.suppress(Exception):
                client.containers.get(name).remove(force=True, v=True)
            docker_volumes.remove(client, name)
