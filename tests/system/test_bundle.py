"""From a manifest to one file, and from that file to a verdict: nothing else, no network, another store, another user."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from repro_tui.artifacts.store import remove_tree
from repro_tui.engines.base import Engine
from repro_tui.engines.docker import DockerEngine
from repro_tui.engines.podman import PodmanEngine
from tests.system.conftest import World
from tests.system.lab import Lab, Result
from tests.system.test_elsewhere import open_folder, reachable_python

__all__ = ["open_folder"]


def pack(lab: Lab, target: Path, *options: str) -> Result:
    lab.write()
    mirrors = [word for mirror in lab.mirrors for word in ("--mirror", str(mirror))]
    places = ["--store", str(lab.store), "--runs", str(lab.runs)]
    return lab.command("pack", str(lab.manifest_path), "-o", str(target), "--offline", *mirrors, *places, *options)


def alone(lab: Lab, folder: Path) -> Lab:
    """Return a place that holds nothing, and reaches nothing."""
    folder.mkdir()
    inside = shutil.which("unshare")
    netless = subprocess.run(["unshare", "-rn", "true"], check=False).returncode == 0 if inside else False
    prefix = ["unshare", "-n" if os.geteuid() == 0 else "-rn"] if netless else []
    home = folder / "home"
    home.mkdir()
    return Lab(
        folder, folder / "store", folder / "runs", prefix=prefix,
        environment={"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "REPRO_TUI_MIRROR": ""},
    )  # fmt: skip


def rerun(there: Lab, bundle: Path, engine: str) -> Result:
    places = ["--store", str(there.store), "--runs", str(there.runs)]
    return there.command("--run", str(bundle), "--json", "--engine", engine, *places)


@pytest.mark.parametrize("image", ["parts", "oci"])
def test_a_bundle_is_reproduced_from_nothing(lab: Lab, tmp_path: Path, image: str) -> None:
    lab.expect_reproduced()
    bundle = tmp_path / "small.repro.tar"
    pack(lab, bundle, "--image", image).expect(0)
    shutil.rmtree(lab.folder)
    there = alone(lab, tmp_path / "reviewer")
    there.folder.chmod(0o755)
    try:
        done = rerun(there, bundle, "embedded").expect(0, "REPRODUCED")
        assert done.report["image"]["origin"] == ("assembled" if image == "parts" else "pulled")
        assert done.report["image"]["manifest_digest"] == lab.manifest["image"]["manifest_digest"]
    finally:
        remove_tree(there.store)


@pytest.mark.engine
@pytest.mark.parametrize("engine", [DockerEngine, PodmanEngine])
def test_a_bundle_in_another_engine(lab: Lab, tmp_path: Path, engine: type[Engine]) -> None:
    name, available = engine().name, engine().availability()
    if not available.ok:
        pytest.skip(f"no {name} answers here: {available.reason}")
    bundle = tmp_path / "small.repro.tar"
    pack(lab, bundle, "--image", "oci", "--run", "none").expect(0)
    there = alone(lab, tmp_path / "reviewer")
    there.prefix = []  # the engine's client may need the network of this host to reach it
    try:
        done = rerun(there, bundle, name).expect(0, "REPRODUCED")
        assert done.report["engine"]["name"] == name
        assert done.report["bundle"]["name"] == bundle.name
    finally:
        remove_tree(there.store)


def test_a_bundle_as_an_ordinary_user_without_a_network(lab: Lab, world: World, open_folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("the tests run as an ordinary user already, and all of them with it")
    bundle = open_folder / "small.repro.tar"
    pack(lab, bundle, "--run", "none").expect(0)
    there = alone(lab, open_folder / "reviewer")
    if not there.prefix:
        pytest.skip("no network namespace can be made here")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    there.program, variables = reachable_python(nobody)
    there.prefix, there.environment = [*there.prefix, *nobody], {**there.environment, **variables, "TMPDIR": "/tmp"}
    for folder in (there.folder, there.folder / "home"):
        os.chown(folder, 65534, 65534)
    done = rerun(there, bundle, "embedded").expect(0, "REPRODUCED")
    assert done.report["environment_hash"] == world.first.report["environment_hash"]
    assert (there.store / "CACHEDIR.TAG").stat().st_uid == 65534
