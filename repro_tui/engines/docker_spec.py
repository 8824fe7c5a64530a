"""A container as the docker SDK wants it told: the sandbox, the limits, the mounts."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from repro_tui.engines import workers
from repro_tui.engines.base import ContainerSpec, tmpfs_bytes
from repro_tui.engines.docker_volumes import LABEL, LABEL_RUN
from repro_tui.engines.sandbox import HOSTNAME

if TYPE_CHECKING:
    from docker import DockerClient

NOT_SEEN = "bind source path does not exist"
"""What the daemon says of a folder that it cannot see."""


def binds(spec: ContainerSpec) -> list[Any]:
    """Return the mounts of folders of this machine."""
    from docker.types import Mount

    return [
        Mount(mount.target, str(mount.source.resolve()), type="bind", read_only=mount.read_only)
        for mount in spec.mounts
    ]


def settings(held: Any, spec: ContainerSpec, user: str, mounts: list[Any]) -> dict[str, Any]:
    """Return what the SDK creates the container with; `mounts` are the SDK's."""
    from docker.types import LogConfig, Ulimit

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
        "mounts": mounts,
        # Everything is kept until the container is removed, so that a dropped stream can be made good.
        "log_config": LogConfig(type=LogConfig.types.JSON, config={"max-size": "1p", "max-file": "1"}),
        "labels": {LABEL: str(workers.current()), LABEL_RUN: spec.run_id},
        "stdin_open": False,
    }


def create(client: DockerClient, settings: Mapping[str, Any]) -> Any:
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
