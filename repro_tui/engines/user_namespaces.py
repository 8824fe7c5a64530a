"""May this user make user namespaces, which the embedded engine is made of; and if not, which setting forbids it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_ATTEMPT = """
import ctypes, sys
clone_new_user = 0x10000000
sys.exit(0 if ctypes.CDLL(None, use_errno=True).unshare(clone_new_user) == 0 else ctypes.get_errno() or 1)
"""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What stands in the way, and what to do about it."""

    reason: str
    remedy: str


def obstacle(proc: Path = Path("/proc")) -> Obstacle | None:
    """Read the settings of Debian and of the kernel, then try it in a child process."""
    settings = proc / "sys"
    if _number(settings / "kernel/unprivileged_userns_clone") == 0 and os.geteuid() != 0:
        return Obstacle(
            "forbidden to ordinary users by kernel.unprivileged_userns_clone = 0",
            "sudo sysctl -w kernel.unprivileged_userns_clone=1 (to keep it: a file in /etc/sysctl.d)",
        )
    if _number(settings / "user/max_user_namespaces") == 0:
        return Obstacle(
            "forbidden by user.max_user_namespaces = 0",
            "sudo sysctl -w user.max_user_namespaces=15000 (to keep it: a file in /etc/sysctl.d)",
        )
    error = attempt()
    if not error:
        return None
    if in_container(proc):
        return Obstacle(f"forbidden by the container that this runs in ({error})", CONTAINER_REMEDY)
    return Obstacle(
        f"refused by the kernel: {error}",
        "Ask the administrator of this machine which security module forbids unshare(CLONE_NEWUSER)",
    )


def apparmor_restricts(proc: Path = Path("/proc")) -> bool:
    """Say whether AppArmor lets this user make namespaces but takes their powers (Ubuntu 24.04 and later)."""
    return _number(proc / "sys/kernel/apparmor_restrict_unprivileged_userns") == 1 and os.geteuid() != 0


def in_container(proc: Path = Path("/proc")) -> bool:
    """Say whether this host is itself a container of Docker or Podman."""
    return (proc.parent / ".dockerenv").exists() or (proc.parent / "run/.containerenv").exists()


CONTAINER_REMEDY = (
    "Start that container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined, or give it the host's Docker socket"
)
APPARMOR_REMEDY = (
    "Install the system's bubblewrap with its AppArmor profile (sudo apt-get install bubblewrap apparmor-profiles), "
    "or: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
)


def attempt() -> str:
    """Make a user namespace in a child process; return "" or the kernel's error in words."""
    code = subprocess.run([sys.executable, "-I", "-S", "-c", _ATTEMPT], timeout=10, check=False).returncode
    return os.strerror(code) if code > 0 else "the process was killed" if code < 0 else ""


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
