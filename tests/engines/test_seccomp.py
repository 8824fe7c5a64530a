"""The system call filter, run by a small interpreter of the kernel's instructions for every call and machine."""

from __future__ import annotations

import errno
import platform
import socket
import struct
from pathlib import Path

import pytest

from repro_tui.engines import seccomp

ALLOWED = 0x7FFF0000
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def answer(program: bytes, number: int, architecture: int, first_argument: int = 0) -> int:
    """Return what the filter says to one call, as the kernel would reckon it (classic BPF, <linux/filter.h>)."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, first_argument, 0, 0, 0, 0, 0)
    code = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        operation, yes, no, value = code[at]
        at += 1
        if operation == 0x06:
            return int(value)
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        else:
            assert operation in {0x15, 0x35}
            at += yes if (accumulator == value if operation == 0x15 else accumulator >= value) else no


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_listed_calls_are_refused_and_all_others_pass(machine: str) -> None:
    program = seccomp.program(machine)
    calls = seccomp._MACHINES[machine].calls
    refused = {number for number in range(600) if answer(program, number, AUDIT[machine]) != ALLOWED}
    assert refused == {calls[name] for name in seccomp.REFUSED}
    assert all(answer(program, number, AUDIT[machine]) & 0xFFFF == errno.EPERM for number in refused)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_only_sockets_to_the_hypervisor_are_refused(machine: str) -> None:
    program, number = seccomp.program(machine), seccomp._MACHINES[machine].calls["socket"]
    refused = [family for family in range(64) if answer(program, number, AUDIT[machine], family) != ALLOWED]
    assert refused == [socket.AF_VSOCK]


def test_calls_of_another_architecture_or_convention_do_not_exist() -> None:
    none = 0x00050000 | errno.ENOSYS
    assert answer(seccomp.program("x86_64"), 0, 0x40000003) == none  # a 32-bit program
    assert answer(seccomp.program("x86_64"), 0x40000000 | 39, AUDIT["x86_64"]) == none  # x32
    assert answer(seccomp.program("aarch64"), 0, 0x40000028) == none


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the header of this machine is at another place")
def test_the_numbers_are_the_kernels() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip(f"{header} is not installed (package linux-libc-dev)")
    defined = dict(line.split()[1:3] for line in header.read_text().splitlines() if line.startswith("#define __NR_"))
    for name, number in seccomp._MACHINES["x86_64"].calls.items():
        assert int(defined[f"__NR_{name}"]) == number, name


def test_it_is_not_available_on_an_unknown_machine_or_kernel(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    assert seccomp.available("x86_64", tmp_path / "there")
    assert not seccomp.available("riscv64", tmp_path / "there")
    assert not seccomp.available("x86_64", tmp_path / "not there")
