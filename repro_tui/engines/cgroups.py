"""Limits held by the kernel: own child control groups, version 1 or 2, where this user may make them."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from repro_tui.engines import workers
from repro_tui.engines.base import Limits

_PREFIX = "repro-tui-"
_PERIOD_US = 100_000


@dataclass(frozen=True, slots=True)
class Group:
    """A control group for one container: one folder (version 2), or one a controller (version 1)."""

    version: int
    folders: dict[str, Path]
    """Controller ("memory", "pids", "cpu") to folder."""
    enforced: frozenset[str] = field(default_factory=frozenset)
    """Controllers that hold a limit of this container."""

    def add(self, pid: int) -> None:
        """Move a process, with what it starts from then on, into the group."""
        for folder in set(self.folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def out_of_memory_kills(self) -> int:
        """Return how many processes the kernel killed because the memory limit was reached."""
        folder = self.folders.get("memory")
        if folder is None:
            return 0
        events = folder / ("memory.events" if self.version == 2 else "memory.oom_control")
        with contextlib.suppress(OSError, ValueError):
            for line in events.read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0

    def remove(self) -> None:
        """Remove the group; its processes are dead (the kernel may need a moment to notice)."""
        for folder in set(self.folders.values()):
            _remove(folder)


def create(name: str, limits: Limits) -> Group | None:
    """Make a group that holds `limits` as far as it can, None where no control group can be made here.

    `name` need only be unique in this worker.
    """
    version, parents = _parents()
    if not parents:
        return None
    worker = workers.current()
    leaf = f"{_PREFIX}{worker.pid}-{worker.start_ticks}-{name.replace('/', '-')}"
    folders: dict[str, Path] = {}
    try:
        for controller, parent in parents.items():
            folders[controller] = parent / leaf
            folders[controller].mkdir(exist_ok=True)
        settings = _settings_v2 if version == 2 else _settings_v1
        enforced = {
            controller
            for controller, file, value in settings(limits, folders)
            if _written(folders[controller] / file, value)
        }
    except OSError:
        Group(version, folders).remove()
        return None
    return Group(version, folders, frozenset(enforced))


def support() -> dict[str, str]:
    """Return controller to "cgroup v1" or "cgroup v2" for the limits that the kernel can hold here."""
    group = create("probe", Limits(memory_bytes=1 << 30, processes=1000, cpus=1.0))
    if group is None:
        return {}
    group.remove()
    return dict.fromkeys(group.enforced, f"cgroup v{group.version}")


def sweep() -> None:
    """Remove groups that dead workers left."""
    _, parents = _parents()
    here = workers.current()
    for parent in set(parents.values()):
        for folder in parent.glob(f"{_PREFIX}*-*-*"):
            pid, ticks = folder.name.removeprefix(_PREFIX).split("-")[:2]
            if not (pid.isdecimal() and ticks.isdecimal()):
                continue
            if workers.Worker(here.node, here.boot, here.pid_namespace, int(pid), int(ticks)).is_dead():
                _remove(folder)


def memory_of(pid: int) -> Group | None:
    """Return the memory group that an engine has put a process into, to read its counters; None where none is seen."""
    with contextlib.suppress(OSError):
        mounts = list(_mounts())
        for controllers, path in _own(pid):
            for kind, options, inner, mount in mounts:
                if kind == "cgroup" and "memory" in options and "memory" in controllers.split(","):
                    version = 1
                elif kind == "cgroup2" and not controllers:
                    version = 2
                else:
                    continue
                folder = _folder(mount, inner, path)
                if folder is not None and (version == 1 or (folder / "memory.events").exists()):
                    return Group(version, {"memory": folder})
    return None


def _settings_v1(limits: Limits, folders: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    if limits.memory_bytes is not None and "memory" in folders:
        yield "memory", "memory.limit_in_bytes", str(limits.memory_bytes)
        yield "memory", "memory.memsw.limit_in_bytes", str(limits.memory_bytes)  # no swap on top
    if limits.processes is not None and "pids" in folders:
        yield "pids", "pids.max", str(limits.processes)
    if limits.cpus is not None and "cpu" in folders:
        yield "cpu", "cpu.cfs_period_us", str(_PERIOD_US)
        yield "cpu", "cpu.cfs_quota_us", str(int(limits.cpus * _PERIOD_US))


def _settings_v2(limits: Limits, folders: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    if limits.memory_bytes is not None and "memory" in folders:
        yield "memory", "memory.max", str(limits.memory_bytes)
        yield "memory", "memory.swap.max", "0"
    if limits.processes is not None and "pids" in folders:
        yield "pids", "pids.max", str(limits.processes)
    if limits.cpus is not None and "cpu" in folders:
        yield "cpu", "cpu.max", f"{int(limits.cpus * _PERIOD_US)} {_PERIOD_US}"


def _remove(folder: Path) -> None:
    for _ in range(50):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.01)
        else:
            return


def _written(file: Path, value: str) -> bool:
    """Write a setting; False where this kernel has it not (swap accounting is often off)."""
    try:
        file.write_text(value)
    except FileNotFoundError:
        return False
    return True


@functools.cache
def _parents() -> tuple[int, dict[str, Path]]:
    """Return the version, and per controller the folder in which this process may make groups and move processes."""
    try:
        own, mounts = _own(), list(_mounts())
    except OSError:
        return 0, {}
    first: dict[str, Path] = {}
    for controllers, path in own:
        for controller in {"memory", "pids", "cpu"} & set(controllers.split(",")):
            for kind, options, inner, mount in mounts:
                if kind == "cgroup" and controller in options:
                    folder = _folder(mount, inner, path)
                    if folder is not None and _usable(folder):
                        first[controller] = folder
    if "memory" in first:
        return 1, first
    for controllers, path in own:
        for kind, _, inner, mount in mounts if not controllers else ():
            folder = _folder(mount, inner, path) if kind == "cgroup2" else None
            # A group that holds processes cannot give controllers to its children, so look upwards from our own.
            while folder is not None and folder != mount.parent:
                given = set(_words(folder / "cgroup.subtree_control"))
                if "memory" in given and _usable(folder):
                    return 2, dict.fromkeys({"memory", "pids", "cpu"} & given, folder)
                folder = folder.parent
    return 0, {}


def _own(pid: int | str = "self") -> list[tuple[str, str]]:
    """Return (controllers, group) of a process; the controllers are empty for version 2."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    return [(controllers, path) for _, controllers, path in lines]


def _mounts() -> Iterator[tuple[str, set[str], str, Path]]:
    """Yield (file system, its options, root inside it, mount point) of every mounted control group hierarchy."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in {"cgroup", "cgroup2"}:
            fields = left.split(" ")
            yield kind, set(options.split(",")), fields[3], Path(fields[4])


def _folder(mount: Path, inner: str, path: str) -> Path | None:
    """Return where the group `path` is seen below `mount`, None where it is outside what is mounted."""
    inner = inner.rstrip("/")
    if path != inner and not path.startswith(inner + "/"):
        return None
    folder = mount / path.removeprefix(inner).lstrip("/")
    return folder if folder.is_dir() and ".." not in folder.parts else None


def _usable(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
