"""Where groups are made and what is written there, on a made-up file system of control groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from repro_tui.engines import cgroups
from repro_tui.engines.base import Limits

LIMITS = Limits(memory_bytes=1 << 30, processes=50, cpus=1.5)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    cgroups._parents.cache_clear()
    yield
    cgroups._parents.cache_clear()


def make(folder: Path, files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in files.split():
        (folder / name).touch()
    return folder


def test_version_2_looks_upwards_for_a_group_that_gives_controllers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = make(tmp_path / "cgroup", "cgroup.procs")
    slices = make(top / "user.slice/app.slice", "cgroup.procs")
    make(slices / "own.scope", "cgroup.procs cgroup.subtree_control")
    (slices / "cgroup.subtree_control").write_text("cpu memory pids\n")
    monkeypatch.setattr(cgroups, "_mounts", lambda: iter([("cgroup2", {"rw"}, "/", top)]))
    monkeypatch.setattr(cgroups, "_own", lambda: [("", "/user.slice/app.slice/own.scope")])
    version, parents = cgroups._parents()
    assert version == 2
    assert parents == dict.fromkeys(("memory", "pids", "cpu"), slices)


def test_version_2_settings() -> None:
    assert list(cgroups._settings_v2(LIMITS, ("memory", "pids", "cpu"))) == [
        ("memory", "memory.max", "1073741824"),
        ("memory", "memory.swap.max", "0"),
        ("pids", "pids.max", "50"),
        ("cpu", "cpu.max", "150000 100000"),
    ]
    assert list(cgroups._settings_v2(Limits(), ("memory", "pids", "cpu"))) == []


def test_version_1_settings() -> None:
    assert list(cgroups._settings_v1(LIMITS, ("memory", "pids"))) == [
        ("memory", "memory.limit_in_bytes", "1073741824"),
        ("memory", "memory.memsw.limit_in_bytes", "1073741824"),
        ("pids", "pids.max", "50"),
    ]


def test_a_group_that_is_delegated_without_controllers_is_no_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make(tmp_path / "cgroup/own", "cgroup.procs cgroup.subtree_control")
    monkeypatch.setattr(cgroups, "_mounts", lambda: iter([("cgroup2", {"rw"}, "/", own.parent)]))
    monkeypatch.setattr(cgroups, "_own", lambda: [("", "/own")])
    assert cgroups._parents() == (0, {})
    assert cgroups.create("x", LIMITS) is None


def test_a_group_outside_what_is_mounted_is_not_ours(tmp_path: Path) -> None:
    assert cgroups._folder(tmp_path, "/docker/abc", "/docker/other") is None
    assert cgroups._folder(tmp_path, "/docker/abc", "/docker/abc") == tmp_path
    (tmp_path / "inner").mkdir()
    assert cgroups._folder(tmp_path, "/docker/abc", "/docker/abc/inner") == tmp_path / "inner"
    assert cgroups._folder(tmp_path, "/", "/inner") == tmp_path / "inner"
    assert cgroups._folder(tmp_path, "/", "/../..") is None


def test_a_real_group_holds_and_goes() -> None:
    group = cgroups.create("test", LIMITS)
    if group is None:
        pytest.skip("no control group can be made here by this user")
    try:
        assert "memory" in group.enforced
        assert group.out_of_memory_kills() == 0
        with pytest.raises(OSError, match=r"."):
            group.add(2**22 + 1)
    finally:
        group.remove()
    assert not any(folder.exists() for folder in group.folders.values())
