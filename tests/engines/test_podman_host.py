"""Whether Podman works here, and what it holds: told by a program that says what a host's Podman would."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro_tui.engines import podman_host
from repro_tui.engines.podman import PodmanEngine

INFO: dict[str, Any] = {
    "host": {
        "cgroupVersion": "v2", "cgroupManager": "systemd", "cgroupControllers": ["memory", "pids"],
        "ociRuntime": {"name": "crun"}, "serviceIsRemote": False,
        "security": {"rootless": True, "seccompEnabled": False, "seccompProfilePath": ""},
        "idMappings": {kind: [{"size": 1}, {"size": 65536}] for kind in ("uidmap", "gidmap")},
    },
    "store": {"graphDriverName": "overlay", "graphRoot": "/g", "graphStatus": {"Backing Filesystem": "extfs"}},
    "version": {"Version": "5.2.1"},
}  # fmt: skip


@pytest.fixture
def podman_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PodmanEngine]:
    def says(error: str = "", **changed: dict[str, Any]) -> PodmanEngine:
        (tmp_path / "info").write_text(
            json.dumps({name: {**part, **changed.get(name, {})} for name, part in INFO.items()})
        )
        program = tmp_path / "podman"
        fails = f"echo 'Error: {error}' >&2; exit 125" if error else f"cat {tmp_path}/info"
        program.write_text(f"#!/bin/sh\ncase $1 in info) {fails};; *) echo --unsetenv-all;; esac\n")
        program.chmod(0o755)
        for name in ("catatonit", "cat"):
            if not (tmp_path / name).exists():
                (tmp_path / name).symlink_to(shutil.which(name) or "/bin/true")
        monkeypatch.setenv("PATH", str(tmp_path))
        for name in ("CONTAINER_HOST", "CONTAINER_CONNECTION"):
            monkeypatch.delenv(name, raising=False)
        return PodmanEngine()

    return says


ONE_UID = {kind: [{"size": 1}] for kind in ("uidmap", "gidmap")}


@pytest.mark.parametrize(
    ("changed", "reason", "remedy"),
    [
        ({"version": {"Version": "3.4.4"}}, "Podman 3.4.4 is too old", "4 or later"),
        ({"host": {"serviceIsRemote": True}}, "talk to a service", "remote = true"),
        (
            {"host": {"security": {"rootless": True}, "idMappings": ONE_UID}},
            "no range of subordinate uids",
            "usermod --add-subuids",
        ),
        ({"store": {"graphDriverName": "vfs"}}, "vfs", 'driver = "overlay"'),
        ({"store": {"graphDriverName": "overlay", "graphStatus": {"Backing Filesystem": "nfs"}}}, "nfs", "graphroot"),
        ({"error": 'exec: "newuidmap": executable file not found in $PATH'}, "newuidmap", "install uidmap"),
        ({"error": "mkdir /run/user/0: permission denied"}, "permission denied", "XDG_RUNTIME_DIR"),
    ],
)
def test_what_does_not_work_comes_with_a_remedy(
    podman_says: Callable[..., PodmanEngine], changed: dict[str, Any], reason: str, remedy: str
) -> None:
    answer = podman_says(**changed).availability()
    assert not answer.ok
    assert reason in answer.reason
    assert remedy in answer.remedy


def test_limits_of_an_ordinary_user_are_those_that_are_delegated(podman_says: Callable[..., PodmanEngine]) -> None:
    engine = podman_says()
    assert engine.availability().ok
    held = engine.capabilities()
    assert held["memory"].startswith("enforced (cgroup v2")
    assert held["cpus"] == "enforced (whole CPUs, by affinity)"
    assert "may make its own user namespace" in held["user"]
    engine = podman_says(host={**INFO["host"], "cgroupVersion": "v1", "cgroupManager": "cgroupfs"})
    assert engine.capabilities()["memory"].startswith("sampled")


def test_another_machines_podman_is_refused(
    podman_says: Callable[..., PodmanEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = podman_says()
    monkeypatch.setenv("CONTAINER_HOST", "ssh://elsewhere")
    answer = engine.availability()
    assert (answer.ok, answer.remedy) == (False, "unset CONTAINER_HOST")


def test_without_podman_nothing_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    engine = PodmanEngine()
    assert "not installed" in engine.availability().reason
    assert engine.sweep() == []
    assert engine.capabilities()


def test_crun_is_not_used_where_both_versions_of_control_groups_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = {"cgroupVersion": "v1", "ociRuntime": {"name": "crun"}}
    groups = tmp_path / "cgroup"
    (groups / "unified").mkdir(parents=True)
    (groups / "unified/cgroup.controllers").write_text("\n")
    assert podman_host._runtime_options(host, groups) == ()
    (groups / "unified/cgroup.controllers").write_text("hugetlb\n")
    monkeypatch.setattr(shutil, "which", lambda name, path=None: f"/usr/sbin/{name}")
    assert podman_host._runtime_options(host, groups) == ("--runtime", "runc")
    assert podman_host._runtime_options({**host, "ociRuntime": {"name": "runc"}}, groups) == ()
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    assert podman_host._runtime_options(host, groups) is None
