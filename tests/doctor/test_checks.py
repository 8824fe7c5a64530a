"""Each check on a machine made up for it: what is well, what is not, and that a remedy is given."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from repro_tui.doctor import clients, cpu, disk, embedded, examine, gpu, memory, namespaces, python
from repro_tui.doctor.finding import Finding
from repro_tui.engines import user_namespaces
from tests.engines.gpus.gpu_lab import UUIDS, FakeNvml, Lab, divided


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


def test_no_gpu_is_fine(tmp_path: Path) -> None:
    assert gpu.check(Lab(tmp_path).ground) == Finding("GPU", ok=True, message="none: runs use the CPU only")


def test_gpus_are_named_with_what_hands_them_on(tmp_path: Path) -> None:
    lab = Lab(tmp_path).driver().libraries()
    lab.nvml = FakeNvml()
    finding = gpu.check(lab.ground)
    assert finding.ok
    assert f"0: NVIDIA H100 80GB HBM3 ({UUIDS[0]}); 1: " in finding.message
    assert "driver 550.54.15, by NVML" in finding.message
    assert finding.details["libraries"].startswith("5 in ")
    assert "not installed" in finding.details["toolkit"]
    assert finding.details["CDI"] == "no specification names a GPU"
    assert "nvidia-ctk cdi generate" in finding.remedy
    lab.cdi().answers["nvidia-ctk --version"] = "NVIDIA Container Toolkit CLI version 1.17.4\ncommit: 9b69590\n"
    finding = gpu.check(lab.ground)
    assert finding.details["CDI"] == "/etc/cdi/nvidia.yaml"
    assert finding.details["toolkit"] == "NVIDIA Container Toolkit CLI version 1.17.4"
    assert finding.remedy == ""


def test_a_gpu_that_does_not_answer_or_may_not_be_opened(tmp_path: Path) -> None:
    broken = gpu.check(Lab(tmp_path / "broken", nvml=FakeNvml(refuses="Driver Not Loaded")).driver(()).ground)
    assert not broken.ok
    assert "Driver Not Loaded" in broken.message
    assert broken.remedy
    lab = Lab(tmp_path / "closed", nvml=FakeNvml()).driver()
    (lab.root / "dev/nvidia1").unlink()
    lab.write("/dev/nvidia1").chmod(0)
    closed = gpu.check(lab.ground)
    assert not closed.ok
    assert "this user may not open /dev/nvidia1" in closed.message
    assert "chmod 666" in closed.remedy
    (lab.root / "dev/nvidia1").unlink()
    assert "nvidia-modprobe" in gpu.check(lab.ground).remedy


def test_a_divided_gpu(tmp_path: Path) -> None:
    whole = [{**divided(), "parts": {}}]
    nothing = gpu.check(Lab(tmp_path / "nothing", nvml=FakeNvml(whole)).driver((0,)).ground)
    assert not nothing.ok
    assert "nvidia-smi mig" in nothing.remedy
    parts = gpu.check(Lab(tmp_path / "parts", nvml=FakeNvml([divided()])).driver((0,)).mig().ground)
    assert parts.ok, parts
    assert parts.details["MIG"] == "2 devices"


def test_amds_gpus(tmp_path: Path) -> None:
    finding = gpu.check(Lab(tmp_path).amd(1).ground)
    assert finding.ok
    assert "AMD Instinct MI250X" in finding.message
    assert finding.details == {"device files": "/dev/dri/renderD128"}


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
    names = [finding.name for finding in findings]
    assert names[:4] == ["embedded engine", "user namespaces", "Docker engine", "Podman engine"]
    assert not findings[0].ok
    assert "broken" in findings[0].message
    assert all(finding.ok or finding.remedy for finding in findings[1:])


def test_one_engine_is_enough() -> None:
    works, broken = Finding("a", ok=True, message="", engine="a"), Finding("b", ok=False, message="", engine="b")
    other = Finding("disk", ok=True, message="")
    assert examine.healthy([works, broken])
    assert not examine.healthy([broken, other])
