"""The sandbox as arguments of `podman run`: what engines/docker.py asks of a daemon, word for word."""

from __future__ import annotations

import json
import resource
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from repro_tui.engines import workers
from repro_tui.engines.base import ContainerSpec, Mount, tmpfs_bytes
from repro_tui.engines.podman_command import LABEL, LABEL_RUN
from repro_tui.engines.sandbox import HOSTNAME
from repro_tui.errors import EngineError

_MOST_PROCESSES = 32768
"""What Podman grants itself, so without the right to raise limits nothing below it may get more."""


_FILTER = "seccomp.json"


@dataclass(frozen=True, slots=True)
class Setting:
    """What the arguments depend on beside the container itself."""

    image_id: str
    user: str
    """uid:gid of the container's processes."""
    rootless: bool
    held: Collection[str]
    """The limits ("memory", "pids", "cpu") that the kernel can hold."""
    init: str
    """The host's program that runs first, forwards signals and waits for orphans."""
    seccomp: str | None = None
    """The filter as JSON, None where Podman has none."""


def arguments(spec: ContainerSpec, setting: Setting, folder: Path) -> list[str]:
    """Return what follows `podman run`. `folder` holds what `furnish` puts there, and gets the process ids."""
    limits = spec.limits
    size = tmpfs_bytes(limits)
    variables = {**spec.environment, "HOSTNAME": HOSTNAME, "PWD": spec.cwd}
    given = [
        "--detach",
        "--pull=never",
        f"--name={spec.name}",
        f"--label={LABEL}={workers.current()}",
        f"--label={LABEL_RUN}={spec.run_id}",
        f"--conmon-pidfile={folder / 'monitor'}",
        f"--pidfile={folder / 'first'}",
        "--log-driver=passthrough",  # the kernel appends to our file itself: nothing to copy, nothing to lose
        "--unsetenv-all",
        "--env-host=false",
        "--http-proxy=false",
        *(f"--env={key}={value}" for key, value in variables.items()),
        f"--workdir={spec.cwd}",
        f"--hostname={HOSTNAME}",
        f"--user={setting.user}",
        "--passwd=false",
        "--no-hosts",
        f"--network={'private' if spec.network else 'none'}",
        "--ipc=private",
        "--pid=private",
        "--uts=private",
        "--read-only",
        "--read-only-tmpfs=false",
        f"--tmpfs=/tmp:rw,exec,nosuid,nodev,mode=1777,size={size}",
        f"--shm-size={limits.shared_memory_bytes or size}b",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        "--security-opt=label=disable",  # else SELinux would want every mounted folder relabelled
        "--init",
        f"--init-path={setting.init}",
        "--systemd=false",
        "--sdnotify=ignore",
        "--no-healthcheck",
        "--umask=0022",
        "--ulimit=core=0:0",
        *_inherited_limits(),
        *(f"--volume={link}:{mount.target}:{_options(mount)}" for link, mount in _linked(spec, folder)),
        f"--entrypoint={json.dumps(list(spec.argv))}",
    ]
    if setting.rootless:
        given.append("--userns=keep-id")
    if setting.seccomp is not None:
        given.append(f"--security-opt=seccomp={folder / _FILTER}")
    if "pids" in setting.held:
        given.append(f"--pids-limit={-1 if limits.processes is None else limits.processes}")
    if "memory" in setting.held and limits.memory_bytes is not None:
        given += [f"--memory={limits.memory_bytes}b", f"--memory-swap={limits.memory_bytes}b"]
    if "cpu" in setting.held and limits.cpus is not None:
        given.append(f"--cpus={limits.cpus:g}")
    return [*given, setting.image_id]


def furnish(spec: ContainerSpec, setting: Setting, folder: Path) -> None:
    """Put into `folder` what the arguments name: the filter, and links to what is mounted.

    A path may hold any character, `--volume` may not. Raises EngineError for what is not there.
    """
    if setting.seccomp is not None:
        (folder / _FILTER).write_text(setting.seccomp)
    for name, mount in _linked(spec, folder):
        source = mount.source.resolve()
        if not source.exists():
            raise EngineError(f"cannot mount {mount.source} at {mount.target}: it is not there", where=str(source))
        if ":" in mount.target:
            raise EngineError(f"Podman cannot mount at a path with a colon: {mount.target}", where=mount.target)
        name.symlink_to(source)


def _linked(spec: ContainerSpec, folder: Path) -> list[tuple[Path, Mount]]:
    return [(folder / f"mount-{number}", mount) for number, mount in enumerate(spec.mounts)]


def _options(mount: Mount) -> str:
    return f"{'ro' if mount.read_only else 'rw'},nosuid,nodev,rprivate"


def _inherited_limits() -> list[str]:
    """Keep the caller's limits: Podman would raise them, which not every root may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    processes = min(count for count in (granted, _MOST_PROCESSES) if count != resource.RLIM_INFINITY)
    return [f"--ulimit=nofile={soft}:{hard}", f"--ulimit=nproc={processes}:{processes}"]
