"""Without a network, as another user, under another umask, time zone and locale, in another engine: the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from repro_tui.artifacts.store import remove_tree
from repro_tui.engines.docker import DockerEngine
from tests.system.conftest import World
from tests.system.lab import PROJECT, Lab, Result, clone_store


def same(world: World, done: Result) -> None:
    """Assert image, environment and results are those of the recorded run."""
    done.expect(0, "REPRODUCED")
    first = world.first.report
    assert done.report["image"] == first["image"]
    assert done.report["environment_hash"] == first["environment_hash"]


@pytest.fixture
def without_network() -> list[str]:
    """Return the words that start a command without a network."""
    words = ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--net"]
    try:
        done = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare on this host")
    if done.returncode:
        pytest.skip(f"no network namespace can be made here: {done.stderr.strip()}")
    return words


def test_without_a_network_and_everything_in_the_store(lab: Lab, world: World, without_network: list[str]) -> None:
    lab.prefix = without_network
    lab.mirrors = []
    for name in ("data", "weights", "code"):
        shutil.rmtree(lab.folder / name)
    same(world, lab.run())


SOURCES: list[dict[str, Any]] = [
    {"type": "local", "path": "nowhere/train.tsv"},
    {"type": "https", "url": "https://data.example.org/train.tsv"},
    {"type": "pip", "package": "no-such-package-of-data", "version": "1.0", "sha256": "1" * 64, "path": "train.tsv"},
    {"type": "apt", "package": "no-such-package", "version": "1.0-1", "sha256": "2" * 64, "path": "usr/share/train.tsv"},
    {"type": "npm", "package": "no-such-package-of-data", "version": "1.0.0", "sha256": "3" * 64, "path": "package/train.tsv"},
    {"type": "hub", "repository": "nobody/nothing", "revision": "4" * 40, "path": "train.tsv"},
    {"type": "git", "url": "https://git.example.org/nothing.git", "commit": "5" * 40, "path": "train.tsv"},
]  # fmt: skip


@pytest.mark.parametrize("how", ["--offline", "no network"])
def test_something_is_missing_and_cannot_be_had(lab: Lab, tmp_path: Path, without_network: list[str], how: str) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    lab.mirrors = []
    artifact = lab.artifact("train")
    (lab.store / "blobs" / artifact["sha256"]).unlink()
    artifact["sources"] = SOURCES if how == "--offline" else SOURCES[:2]
    if how == "no network":
        lab.prefix = without_network
    done = lab.run(*(["--offline"] if how == "--offline" else [])).expect(3, "FAILED")
    assert "train" in done.summary
    for word in ("nowhere/train.tsv", "data.example.org", *(["no-such-package-of-data", "nobody/nothing", "git.example.org"] if how == "--offline" else [])):  # fmt: skip
        assert word in done.err, str(done)
    assert done.err.count("tried ") >= len(artifact["sources"])


def test_a_package_is_missing_and_cannot_be_had(lab: Lab, tmp_path: Path) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    remove_tree(lab.store / "derived")
    remove_tree(lab.store / "blobs")
    lab.mirrors = []
    done = lab.run("--offline").expect(3, "FAILED")
    assert "base-files" in done.err
    assert "hint:" in done.err


# --- other users, settings and engines --------------------------------------------------------------------------------


def test_other_settings_of_the_host(lab: Lab, world: World, tmp_path: Path) -> None:
    lab.store = tmp_path / "store"
    lab.prefix = ["sh", "-c", 'umask 077; exec "$@"', "sh"]
    lab.environment = {
        "TZ": "Asia/Kathmandu", "LANG": "tr_TR.UTF-8", "LC_ALL": "C", "PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "1",
        "PYTHONPYCACHEPREFIX": str(tmp_path / "pycache"), "OMP_NUM_THREADS": "3", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    same(world, lab.run("--offline"))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that every user can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="repro-tui-test-", dir="/tmp"))
    folder.chmod(0o777)
    yield folder
    remove_tree(folder)


def reachable_python(prefix: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the words and variables with which another user starts repro-tui: with this Python, or one like it."""
    packages = os.pathsep.join([str(PROJECT), sysconfig.get_path("purelib")])
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    script = "import subprocess, sys; subprocess.check_call([sys.executable, '-c', 'import repro_tui, pydantic'])"
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        variables = {"PYTHONPATH": packages}
        tried = subprocess.run(
            [*prefix, python, "-c", script], capture_output=True, check=False, cwd="/", env={**os.environ, **variables}
        )
        if tried.returncode == 0:
            return [python, "-m", "repro_tui"], variables
    pytest.skip(f"another user can start no Python {version} here that finds this project")


def test_as_an_ordinary_user(lab: Lab, world: World, open_folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("the tests run as an ordinary user already, and all of them with it")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    lab.program, lab.environment = reachable_python(nobody)
    mirror = shutil.copytree(world.downloads, open_folder / "mirror")
    lab.folder = shutil.copytree(lab.folder, open_folder / "experiment")
    subprocess.run(["chmod", "-R", "a+rX", str(open_folder)], check=True)
    (open_folder / "home").mkdir()
    os.chown(open_folder / "home", 65534, 65534)
    lab.store, lab.runs, lab.mirrors = open_folder / "home/store", open_folder / "home/runs", [mirror]
    lab.prefix = nobody
    lab.environment = {**lab.environment, "HOME": str(open_folder / "home"), "TMPDIR": "/tmp"}
    done = lab.run("--offline")
    same(world, done)
    assert (lab.store / "CACHEDIR.TAG").stat().st_uid == 65534
    same(world, lab.run("--offline"))


@pytest.mark.engine
def test_under_docker(lab: Lab, world: World) -> None:
    available = DockerEngine().availability()
    if not available.ok:
        pytest.skip(f"no Docker answers here: {available.reason}")
    done = lab.run("--engine", "docker")
    same(world, done)
    assert done.report["engine"]["name"] == "docker"
    again = lab.run("--engine", "docker")
    same(world, again)
