"""Whether Podman works on this host for this user, how it has to be called, and what it can hold to."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro_tui.engines import podman_seccomp, user_namespaces
from repro_tui.engines.base import Availability
from repro_tui.engines.podman_command import Podman, Refusal

_OLDEST = (4,)
_SYSTEM_FOLDERS = "/usr/sbin:/sbin:/usr/local/sbin"
"""Not on every ordinary user's PATH."""
_INITS = (
    "/usr/libexec/podman/catatonit",
    "/usr/local/libexec/podman/catatonit",
    "/usr/lib/podman/catatonit",
    "catatonit",
    "tini-static",
    "docker-init",
)
_CONTROLLERS = frozenset({"memory", "pids", "cpu"})
_REMEDY_SUBUID = (
    "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER (another range where that is taken; "
    "`cat /etc/subuid` shows them), then: podman system migrate"
)
_REMEDY_OVERLAY = (
    'Write the lines [storage] and driver = "overlay" into ~/.config/containers/storage.conf, then (this removes what '
    "Podman holds): podman system reset"
)
_REMEDY_GRAPHROOT = (
    "Name a folder on a local disk: graphroot below [storage] in ~/.config/containers/storage.conf "
    "(/etc/containers/storage.conf for root)"
)


@dataclass(frozen=True, slots=True)
class Host:
    """What was found out; `podman` is None where it does not work."""

    availability: Availability
    podman: Podman | None = None
    init: str = ""
    held: frozenset[str] = frozenset()
    """The limits ("memory", "pids", "cpu") that the kernel can hold."""
    seccomp: str | None = None
    """The filter of system calls as JSON, None where Podman has none."""
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rootless(self) -> bool:
        """Whether an ordinary user calls it."""
        return bool(_host(self.info).get("security", {}).get("rootless"))


def examine() -> Host:
    """Look for the program, ask it how it is, and read what it says."""
    program = shutil.which("podman")
    if program is None:
        return _no("Podman is not installed", "Install Podman if you want it: sudo apt-get install podman uidmap")
    for name in ("CONTAINER_HOST", "CONTAINER_CONNECTION"):
        if os.environ.get(name):
            return _no(f"{name} sends Podman to another machine or a service, which is not used here", f"unset {name}")
    podman = Podman(program)
    try:
        info = podman.ask("info", "--format=json")
    except Refusal as refusal:
        return _no(str(refusal), _remedy(str(refusal)))
    return _judged(podman, info)


def _judged(podman: Podman, info: Mapping[str, Any]) -> Host:
    host, store = _host(info), info.get("store", {})
    version = str(info.get("version", {}).get("Version", ""))
    if _numbers(version) < _OLDEST:
        return _no(f"Podman {version} is too old", "Podman 4 or later is needed")
    if host.get("serviceIsRemote"):
        return _no(
            "Podman is set up to talk to a service, which is not used here",
            "Take remote = true out of containers.conf, or choose a local connection",
        )
    rootless = bool(host.get("security", {}).get("rootless"))
    if rootless and _mapped(host) <= 1:
        return _no(f"uid {os.geteuid()} has no range of subordinate uids and gids", _REMEDY_SUBUID)
    if store.get("graphDriverName") == "vfs":
        return _no("Podman's storage driver is vfs, which copies the whole image for every container", _REMEDY_OVERLAY)
    backing = str(store.get("graphStatus", {}).get("Backing Filesystem", ""))
    if rootless and backing.startswith("nfs"):
        return _no(f"Podman's storage {store.get('graphRoot')} is on {backing}", _REMEDY_GRAPHROOT)
    options = _runtime_options(host)
    if options is None:
        return _no(
            "crun does not work where control groups of version 1 and 2 are both in use, as here",
            "Install runc: sudo apt-get install runc",
        )
    init = next((found for name in _INITS if (found := shutil.which(name, path=_path()))), None)
    if init is None:
        return _no("no init program for containers was found", "sudo apt-get install catatonit")
    podman = Podman(podman.program, options)
    if "--unsetenv-all" not in podman.call("run", "--help"):
        return _no(
            f"Podman {version} cannot take an image's own variables away (--unsetenv-all)", "Podman 4.3 has been tried"
        )
    whose = "rootless" if rootless else "as root"
    runtime = options[-1] if options else str(host.get("ociRuntime", {}).get("name"))
    reason = f"Podman {version} ({whose}, {runtime}, {store.get('graphDriverName')}) at {podman.program}"
    security = host.get("security", {})
    seccomp = podman_seccomp.profile(Path(security["seccompProfilePath"])) if security.get("seccompEnabled") else None
    return Host(Availability(ok=True, reason=reason), podman, init, _held(host, rootless=rootless), seccomp, info)


def _host(info: Mapping[str, Any]) -> Mapping[str, Any]:
    host: Mapping[str, Any] = info.get("host", {})
    return host


def _held(host: Mapping[str, Any], *, rootless: bool) -> frozenset[str]:
    """Return the limits that the kernel holds: all that root wants, and what systemd delegates to an ordinary user."""
    if rootless and not (host.get("cgroupVersion") == "v2" and host.get("cgroupManager") == "systemd"):
        return frozenset()
    return _CONTROLLERS.intersection(host.get("cgroupControllers") or ())


def _runtime_options(host: Mapping[str, Any], groups: Path = Path("/sys/fs/cgroup")) -> tuple[str, ...] | None:
    """Return which runtime to name, none for Podman's own; None where no runtime that is here works."""
    try:
        hybrid = host.get("cgroupVersion") == "v1" and bool((groups / "unified/cgroup.controllers").read_text().strip())
    except OSError:
        hybrid = False
    if not hybrid or host.get("ociRuntime", {}).get("name") != "crun":
        return ()
    return ("--runtime", "runc") if shutil.which("runc", path=_path()) else None


def _mapped(host: Mapping[str, Any]) -> int:
    mappings = host.get("idMappings") or {}
    sizes = [sum(int(part.get("size", 0)) for part in mappings.get(kind) or ()) for kind in ("uidmap", "gidmap")]
    return min(sizes)


def _no(reason: str, remedy: str) -> Host:
    return Host(Availability(ok=False, reason=reason, remedy=remedy))


def _remedy(words: str) -> str:
    """Return what a user can do about the words with which `podman info` ended."""
    if "newuidmap" in words or "newgidmap" in words:
        return "sudo apt-get install uidmap"
    if "subuid" in words or "subgid" in words:
        return _REMEDY_SUBUID
    if "graph driver" in words or "mismatch" in words:
        return _REMEDY_OVERLAY
    if "nfs" in words.lower() or "overlay" in words:
        return _REMEDY_GRAPHROOT
    if "user namespace" in words or "clone" in words or "unshare" in words:
        obstacle = user_namespaces.obstacle()
        return obstacle.remedy if obstacle is not None else user_namespaces.APPARMOR_REMEDY
    if "permission denied" in words:
        return "Set HOME to a folder of yours, and XDG_RUNTIME_DIR likewise or not at all"
    return "`podman info` says the same; `podman system migrate` or a new login often helps"


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_FOLDERS}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
