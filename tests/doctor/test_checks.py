"""Each check on a machine made up for it: what is well, what is not, and that a remedy is given."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from repro_tui.doctor import clients, cpu, disk, embedded, examine, gpu, memory, namespaces, python
from repro_tui.doctor.finding import Finding
from repro_tui.engines import user_namespaces


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_cpu_with_and_without_avx2(tmp_path: Path) -> None:
    write(
        tmp_path / "new", "model name\t: A\nflags\t\t: fpu avx2 avx512f\n\nmodel name\t: A\nflags\t: fpu avx2 avx512f\n"
    )
    write(tmp_path / "old", "model name\t: B\nflags\t\t: fpu avx\n")
    assert cpu.check(tmp_path / "new") == Finding("CPU", ok=True, message="A: avx2, avx512f")
    old = cpu.check(tmp_path / "old")
    assert not old.ok
    assert "no AVX2" in old.message
    assert "avx2" in old.remedy


def test_memory_that_is_enough_and_not(tmp_path: Path) -> None:
    write(tmp_path / "much", f"MemTotal: 1 kB\nMemAvailable:   {8 << 20} kB\n")
    write(tmp_path / "little", f"MemAvailable:   {1 << 20} kB\n")
    assert memory.check(tmp_path / "much").message.startswith("8.0 GiB of memory available, ")
    little = memory.check(tmp_path / "little")
    assert not little.ok
    assert little.remedy


def test_disk_of_a_folder_that_is_not_made_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1 << 30})()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage if path == tmp_path else None)
    finding = disk.check("disk", tmp_path / "not/yet", "make room")
    assert not finding.ok
    assert finding.remedy == "make room"
    assert finding.message.startswith("1.0 GiB free at ")
    usage.free = 100 << 30
    assert disk.check("disk", tmp_path / "not/yet", "make room").ok


def test_no_gpu_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.check(tmp_path) == Finding("GPU", ok=True, message="none: runs use the CPU only")


@pytest.mark.parametrize(
    ("script", "ok", "said"),
    [("echo 'H100, 550.1, 81559 MiB'", True, "H100, 550.1"), ("echo 'no driver' >&2; exit 9", False, "no driver")],
)
def test_a_gpu_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, ok: bool, said: str) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = gpu.check(tmp_path)
    assert finding.ok == ok
    assert said in finding.message
    assert finding.ok or finding.remedy


def test_clients_that_are_missing_are_named_with_their_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("apt-get", "git"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = clients.check()
    assert "npm (files in npm packages)" in finding.message
    assert finding.ok
    (tmp_path / "apt-get").unlink()
    finding = clients.check()
    assert not finding.ok
    assert "mirror" in finding.remedy


def test_python_outside_of_what_is_tested() -> None:
    assert python.check((3, 12)).ok
    assert not python.check((3, 10)).ok
    assert not python.check((3, 14)).ok


def test_forbidden_user_namespaces_name_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_namespaces, "attempt", lambda: "Operation not permitted")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    proc = tmp_path / "proc"
    assert "refused by the kernel" in namespaces.check(proc).message
    write(tmp_path / ".dockerenv", "")
    in_container = namespaces.check(proc)
    assert "container that this runs in" in in_container.message
    assert "seccomp=unconfined" in in_container.remedy
    write(proc / "sys/user/max_user_namespaces", "0\n")
    assert "max_user_namespaces=" in namespaces.check(proc).remedy
    write(proc / "sys/kernel/unprivileged_userns_clone", "0\n")
    assert "unprivileged_userns_clone=1" in namespaces.check(proc).remedy


def test_apparmor_is_told_of_where_namespaces_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_namespaces, "attempt", lambda: "")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    write(tmp_path / "proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n")
    finding = namespaces.check(tmp_path / "proc")
    assert finding.ok
    assert "AppArmor" in finding.message


def test_a_check_that_fails_itself_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Finding:
        raise RuntimeError("broken")

    monkeypatch.setattr(embedded, "check", broken)
    findings = examine.examine(tmp_path)
    assert [finding.name for finding in findings][:3] == ["embedded engine", "user namespaces", "Docker engine"]
    assert not findings[0].ok
    assert "broken" in findings[0].message
    assert all(finding.ok or finding.remedy for finding in findings[1:])


def test_one_engine_is_enough() -> None:
    works, broken = Finding("a", ok=True, message="", engine="a"), Finding("b", ok=False, message="", engine="b")
    other = Finding("disk", ok=True, message="")
    assert examine.healthy([works, broken])
    assert not examine.healthy([broken, other])
