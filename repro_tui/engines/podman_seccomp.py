"""Podman's system call filter, with less: it lets a process make namespaces, which Docker's does not."""

from __future__ import annotations

import errno
import json
import socket
from pathlib import Path
from typing import Any

from repro_tui.engines.seccomp import REFUSED

_NAMESPACES = (
    "unshare", "setns", "mount", "umount", "umount2", "pivot_root", "mount_setattr", "move_mount", "open_tree",
    "fsopen", "fsconfig", "fsmount", "fspick",
)  # fmt: skip
_NO_NAMESPACE = {"value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
"""None of clone's flags that ask for a namespace."""
_CLONE_SWAPPED = ["s390", "s390x"]
"""Where the flags are the second argument."""


def profile(podmans: Path) -> str | None:
    """Return the profile as JSON: Podman's own less what makes namespaces and `REFUSED`; None where it has none."""
    try:
        given: dict[str, Any] = json.loads(podmans.read_text())
        return json.dumps(_narrowed(given))
    except (OSError, ValueError, KeyError):
        return None


def _narrowed(given: dict[str, Any]) -> dict[str, Any]:
    refused = {*_NAMESPACES, *REFUSED}
    taken = {*refused, "clone", "clone3", "socket"}
    rules: list[dict[str, Any]] = []
    for rule in given["syscalls"]:
        names = [name for name in rule["names"] if name not in taken]
        if names:
            rules.append({**rule, "names": names})
    # clone3 keeps its flags in memory, where no filter sees them; told that there is none, libraries take clone.
    rules += [
        _error(sorted(refused), errno.EPERM),
        _error(["clone3"], errno.ENOSYS),
        _allow("socket", {"index": 0, "value": socket.AF_VSOCK, "valueTwo": 0, "op": "SCMP_CMP_NE"}),
        _allow("clone", {"index": 0, **_NO_NAMESPACE}, excludes={"arches": _CLONE_SWAPPED}),
        _allow("clone", {"index": 1, **_NO_NAMESPACE}, includes={"arches": _CLONE_SWAPPED}),
    ]
    return {**given, "syscalls": rules}


def _allow(name: str, condition: dict[str, Any], **where: Any) -> dict[str, Any]:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [condition], **where}


def _error(names: list[str], number: int) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ERRNO", "args": [], "errnoRet": number}
