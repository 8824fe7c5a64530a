"""The embedded engine's system call filter: what a process without capabilities could still ask, and must not.

Capabilities, namespaces and read-only mounts refuse most of what would leave the sandbox. The calls listed here they
let through; each can reach past a namespace or has often done so, and no fine-tune needs one. Docker and Podman refuse
most of them by default too.
"""

from __future__ import annotations

import errno
import platform
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

REFUSED = {
    "add_key": "keyrings are the user's, not the namespace's",
    "request_key": "the same",
    "keyctl": "the same",
    "bpf": "runs code in the kernel",
    "perf_event_open": "watches processes and the kernel",
    "userfaultfd": "stops the kernel in the middle of a copy, which exploits need",
    "io_uring_setup": "starts system calls that no filter sees",
    "io_uring_enter": "the same",
    "io_uring_register": "the same",
    "syslog": "reads the kernel's messages, and with them the host's",
    "open_by_handle_at": "opens a file by number, mounted or not",
}
"""System call to why; answered with "Operation not permitted". So is a socket of the family AF_VSOCK, which would be
the one way out of a container without network: to the machine that a virtual host runs on."""


@dataclass(frozen=True, slots=True)
class _Machine:
    audit: int
    """What the kernel calls it: AUDIT_ARCH_… of <linux/audit.h>."""
    calls: dict[str, int]
    foreign_from: int | None = None
    """Calls from this number on are those of another convention (x32)."""


_MACHINES = {
    "x86_64": _Machine(0xC000003E, {
        "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "syslog": 103, "open_by_handle_at": 304,
        "socket": 41,
    }, 0x40000000),
    "aarch64": _Machine(0xC00000B7, {
        "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "syslog": 116, "open_by_handle_at": 265,
        "socket": 198,
    }),
}  # fmt: skip

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _RETURN = 0x20, 0x15, 0x35, 0x06  # <linux/bpf_common.h>
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000  # SECCOMP_RET_…


def available(machine: str | None = None, actions: Path = Path("/proc/sys/kernel/seccomp/actions_avail")) -> bool:
    """Say whether this kernel takes filters, and this machine's system calls are known here."""
    return (machine or platform.machine()) in _MACHINES and actions.exists()


def program(machine: str | None = None) -> bytes:
    """Return the filter as the kernel takes it: an array of struct sock_filter (<linux/filter.h>)."""
    known = _MACHINES[machine or platform.machine()]
    refused = [known.calls[name] for name in REFUSED]
    # Of another architecture or convention (32-bit programs) nothing is known here, so all of it is said not to exist.
    lines: list[tuple[int, int, str, str]] = [
        (_LOAD, _ARCHITECTURE, "", ""),
        (_JUMP_EQUAL, known.audit, "", "unknown"),
        (_LOAD, _NUMBER, "", ""),
    ]
    if known.foreign_from is not None:
        lines.append((_JUMP_GREATER_EQUAL, known.foreign_from, "unknown", ""))
    lines += [(_JUMP_EQUAL, number, "refuse", "") for number in refused]
    lines += [
        (_JUMP_EQUAL, known.calls["socket"], "", "allow"),
        (_LOAD, _FIRST_ARGUMENT, "", ""),
        (_JUMP_EQUAL, socket.AF_VSOCK, "refuse", "allow"),
    ]
    ends = {"allow": _ALLOW, "refuse": _ERROR | errno.EPERM, "unknown": _ERROR | errno.ENOSYS}
    at = {label: len(lines) + position for position, label in enumerate(ends)}

    def distance(label: str, here: int) -> int:
        return at[label] - here - 1 if label else 0

    code = [
        struct.pack("=HBBI", operation, distance(yes, here), distance(no, here), value)
        for here, (operation, value, yes, no) in enumerate(lines)
    ]
    return b"".join([*code, *(struct.pack("=HBBI", _RETURN, 0, 0, value) for value in ends.values())])
