"""Where the Docker daemon is, whether it answers, and whether it can see the folders of this machine."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from repro_tui.engines import docker_ssh
from repro_tui.engines.base import Availability
from repro_tui.errors import EngineError

if TYPE_CHECKING:
    from docker import DockerClient

TIMEOUT_S = 60
_PING_TIMEOUT_S = 5
_ANY_VERSION = "1.41"
"""Of the interface, where none is named in what is asked."""
_OLDEST_API = (1, 41)
"""Of Docker 20.10."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the daemon is, as DOCKER_HOST, the current context of the command line client, or the default says."""

    url: str
    options: Mapping[str, Any]
    context: str = ""
    """The context of the command line client that says so."""

    @classmethod
    def find(cls) -> Endpoint:
        """Find it the way the command line client does; raises EngineError for a context that does not exist."""
        from docker.context import ContextAPI
        from docker.context.config import get_current_context_name
        from docker.utils import kwargs_from_env

        options: dict[str, Any] = {**kwargs_from_env()}
        context = ""
        if "base_url" not in options:
            context = os.environ.get("DOCKER_CONTEXT") or get_current_context_name()
            if ContextAPI.get_context(context) is None:  # the SDK would take the default without a word
                raise EngineError(f"there is no Docker context {context!r}")
            options |= ContextAPI.kwargs_from_context(context)
        url = str(options.setdefault("base_url", "unix:///var/run/docker.sock"))
        if url.startswith("http+unix://"):
            url = options["base_url"] = url.removeprefix("http+")
        return cls(url, options, "" if context == "default" else context)

    def connect(self, timeout_s: int | None = TIMEOUT_S) -> DockerClient:
        """Return a client; raises DockerException or EngineError. None is no time limit, for calls as long as a run."""
        from docker import DockerClient

        options = dict(self.options)
        if self.by_ssh:
            options = {"base_url": f"unix://{docker_ssh.tunnel(self.url).socket}"}
        if "tls" not in options:
            return DockerClient(**options, timeout=timeout_s)  # type: ignore[arg-type]  # the stubs know no None
        # $REQUESTS_CA_BUNDLE would take the place of the daemon's own authority, from the first request on: that one,
        # which asks for the version, is therefore not left to the constructor.
        asking = DockerClient(**options, version=_ANY_VERSION, timeout=_PING_TIMEOUT_S)
        asking.api.trust_env = False
        with closing(asking):
            version = str(asking.api.version(api_version=False)["ApiVersion"])
        client = DockerClient(**options, version=version, timeout=timeout_s)  # type: ignore[arg-type]  # as above
        client.api.trust_env = False
        return client

    @property
    def by_ssh(self) -> bool:
        """Whether ssh leads to it."""
        return urlsplit(self.url).scheme == "ssh"

    def may_be_here(self, daemon_host: str) -> bool:
        """Say whether a daemon that calls its machine so may see the folders of this one.

        Only a hint: a socket or a port of this machine may be forwarded from another of the same name, and this process
        may be in a container itself. `docker_volumes.sees` is the proof.
        """
        return not self.by_ssh and daemon_host == socket.gethostname()

    def availability(self) -> Availability:
        """Ask the daemon for its version."""
        refused = self._refusal()
        if refused is not None:
            return refused
        try:
            client = self.connect(_PING_TIMEOUT_S)
            try:
                version: dict[str, Any] = client.version()
                info: dict[str, Any] = client.info()
            finally:
                client.close()
        except EngineError as error:
            return Availability(ok=False, reason=error.message, remedy=error.hint, host=self.url)
        except Exception as error:  # DockerException, and requests' errors for half-dead daemons
            return self._silent(error)
        names = [str(part.get("Name")) for part in version.get("Components") or ()]
        if any(name.startswith("Podman") for name in names):
            return Availability(
                ok=False, reason=f"what answers at {self.url} is Podman", remedy="--engine podman", host=self.url
            )
        number = f"Docker {version.get('Version')}"
        if _api(version) < _OLDEST_API:
            return Availability(
                ok=False,
                reason=f"{number} at {self.url} is too old: 20.10 is the first that is supported",
                remedy="Upgrade Docker on that machine, or take another engine: --engine embedded",
                host=self.url,
            )
        system = f"{version.get('Os')}/{version.get('Arch')}"
        return Availability(ok=True, reason=f"{number} ({system}) at {self._words(info)}", host=self.url)

    def _words(self, info: Mapping[str, Any]) -> str:
        """Return where it is, by which context, and on which machine where that is not this one."""
        name = str(info.get("Name"))
        words = self.url + (f" (context {self.context})" if self.context else "")
        return words if self.may_be_here(name) else f"{words} on {name}, not this machine: files go through volumes"

    def _refusal(self) -> Availability | None:
        """Say why nothing can be said to a local socket; None where something listens, or it is no such socket."""
        if not self.url.startswith("unix://"):
            return None
        path = self.url.removeprefix("unix://")
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
            return Availability(ok=False, reason=reason, remedy=remedy, host=self.url)
        return None

    def _silent(self, error: Exception) -> Availability:
        """Say that nobody answers, and where to look."""
        parts = urlsplit(self.url)
        if self.by_ssh:
            tunnel = docker_ssh.tunnel(self.url)
            why = docker_ssh.answers(tunnel.socket, _PING_TIMEOUT_S) or str(error)
            return Availability(
                ok=False,
                reason=f"ssh reaches {parts.hostname}, but no Docker daemon answers there: {why}",
                remedy=f"On {parts.hostname}: start Docker, put the user into the group docker, or name the socket: "
                f"DOCKER_HOST=ssh://{parts.netloc}/run/user/1000/docker.sock",
                host=self.url,
            )
        remedy = "Restart Docker"
        if parts.scheme != "unix":
            remedy = (
                f"Start Docker on {parts.hostname}, and check the port, the firewall and the TLS settings "
                "(DOCKER_TLS_VERIFY, DOCKER_CERT_PATH, docker context inspect), or unset DOCKER_HOST"
            )
        return Availability(
            ok=False, reason=f"the daemon at {self.url} does not answer: {error}", remedy=remedy, host=self.url
        )


def _api(version: Mapping[str, Any]) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in str(version["ApiVersion"]).split("."))
    except (KeyError, ValueError):
        return (0,)
