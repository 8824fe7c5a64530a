"""May this user make user namespaces, which the embedded engine is made of; and if not, which setting forbids it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from repro_tui.doctor.finding import Finding

_ATTEMPT = """
import ctypes, sys
clone_new_user = 0x10000000
sys.exit(0 if ctypes.CDLL(None, use_errno=True).unshare(clone_new_user) == 0 else ctypes.get_errno() or 1)
"""
_NAME = "user namespaces"


def check(proc: Path = Path("/proc")) -> Finding:
    """Read the settings of Debian, of the kernel and of Ubuntu's AppArmor, then try it in a child process."""
    settings = proc / "sys"
    if _number(settings / "kernel/unprivileged_userns_clone") == 0 and os.geteuid() != 0:
        return Finding(
            _NAME,
            ok=False,
            message="forbidden to ordinary users by kernel.unprivileged_userns_clone = 0",
            remedy="sudo sysctl -w kernel.unprivileged_userns_clone=1 (to keep it: a file in /etc/sysctl.d)",
        )
    if _number(settings / "user/max_user_namespaces") == 0:
        return Finding(
            _NAME,
            ok=False,
            message="forbidden by user.max_user_namespaces = 0",
            remedy="sudo sysctl -w user.max_user_namespaces=15000 (to keep it: a file in /etc/sysctl.d)",
        )
    error = try_one()
    if not error:
        note = ""
        if _number(settings / "kernel/apparmor_restrict_unprivileged_userns") == 1 and os.geteuid() != 0:
            # Here the namespace can be made but gives no capabilities unless a profile names the program.
            note = "; AppArmor restricts what they may do to programs with a profile, such as /usr/bin/bwrap"
        return Finding(_NAME, ok=True, message=f"this user may make them{note}")
    if (proc.parent / ".dockerenv").exists() or (proc.parent / "run/.containerenv").exists():
        return Finding(
            _NAME,
            ok=False,
            message=f"forbidden by the container that this runs in ({error})",
            remedy="Start that container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
            "--security-opt systempaths=unconfined, or give it the host's Docker socket",
        )
    return Finding(
        _NAME,
        ok=False,
        message=f"refused by the kernel: {error}",
        remedy="Ask the administrator of this machine which security module forbids unshare(CLONE_NEWUSER)",
    )


def try_one() -> str:
    """Make a user namespace in a child process; return "" or the kernel's error in words."""
    code = subprocess.run([sys.executable, "-I", "-S", "-c", _ATTEMPT], timeout=10, check=False).returncode
    return os.strerror(code) if code > 0 else "the process was killed" if code < 0 else ""


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
