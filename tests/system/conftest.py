"""One image, assembled once a session, and one recorded run, which every test starts from."""

from __future__ import annotations

import copy
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.store import Store, remove_tree
from repro_tui.engines.embedded import EmbeddedEngine
from repro_tui.errors import InfrastructureError
from repro_tui.images.debs import read_base_lock
from repro_tui.images.locks import read_lock
from repro_tui.manifest.trees import tree_digest, tree_files
from tests.system.lab import EXPERIMENT, PROJECT, WHEELS, Lab, Manifest, Result, sha256

ENV_STORE = "REPRO_TUI_TEST_STORE"
"""Environment variable that names a folder to keep downloads in, so that the next session has them."""


@dataclass(frozen=True)
class World:
    """What a session shares: never changed by a test."""

    downloads: Path
    """Every package and wheel by digest: a mirror folder."""
    experiment: Path
    store: Path
    first: Result
    """The run without pins."""
    manifest: Manifest
    """With everything pinned that the first run told."""


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a mirror folder with the packages of images/torch-cpu's base and the two wheels."""
    named = os.environ.get(ENV_STORE)
    store = Store(Path(named).absolute() if named else tmp_path_factory.mktemp("downloads"))
    fetcher = Fetcher(store, [], base=PROJECT)
    locked = read_lock(PROJECT / "lockfiles/torch-cpu.txt", platform="linux/amd64", python="3.11")
    try:
        fetcher.debs(read_base_lock(PROJECT / "images/torch-cpu/base.lock"))
        fetcher.wheels([wheel for wheel in locked if wheel.name in WHEELS])
    except InfrastructureError as error:
        pytest.skip(f"the packages of the test image cannot be had here: {error.message}")
    finally:
        store.close()
    return store.root / "blobs"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[World]:
    """Assemble the image, run the experiment without pins, and pin what came out."""
    available = EmbeddedEngine().availability()
    if not available.ok:
        pytest.skip(f"the embedded engine does not work here: {available.reason}")
    folder = tmp_path_factory.mktemp("world")
    experiment = folder / "experiment"
    write_experiment(experiment)
    lab = Lab(experiment, folder / "store", folder / "runs", [downloads], first_manifest(experiment))
    first = lab.run("--offline")
    first.expect(5, "INCONCLUSIVE")
    assert first.run is not None
    yield World(downloads, experiment, lab.store, first, pinned(lab, first))
    for each in folder.iterdir():
        remove_tree(each)


@pytest.fixture
def lab(world: World, tmp_path: Path) -> Lab:
    """Return the recorded experiment in a folder of its own, with the session's store."""
    folder = tmp_path / "experiment"
    shutil.copytree(world.experiment, folder)
    return Lab(folder, world.store, tmp_path / "runs", [world.downloads], copy.deepcopy(world.manifest))


def write_experiment(folder: Path) -> None:
    """Write the experiment's files: code, data, weights, recipe and locks."""
    shutil.copytree(EXPERIMENT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    recipe = folder / "images/small"
    recipe.mkdir(parents=True)
    shutil.copy(PROJECT / "images/torch-cpu/image.toml", recipe)
    shutil.copy(PROJECT / "images/torch-cpu/base.lock", recipe)
    lock = (PROJECT / "lockfiles/torch-cpu.txt").read_text(encoding="utf-8")
    wanted = [line for line in lock.splitlines() if re.match(rf"({'|'.join(WHEELS)})==", line)]
    (folder / "small.txt").write_text("\n".join(wanted) + "\n", encoding="utf-8")


def first_manifest(folder: Path) -> Manifest:
    """Return the manifest before anything was recorded: inputs are pinned, image, environment and results are not."""
    files = [
        ("train", "data", "data/train.tsv"),
        ("test", "data", "data/test.tsv"),
        ("start", "weights", "weights/start.json"),
    ]
    artifacts: list[Manifest] = [
        {
            "name": name, "kind": kind, "path": path, "sha256": sha256(folder / path),
            "bytes": (folder / path).stat().st_size, "sources": [{"type": "local", "path": path}],
        }
        for name, kind, path in files
    ]  # fmt: skip
    code = tree_files(folder / "code")
    artifacts.append(
        {
            "name": "code", "kind": "code", "path": "code", "tree_sha256": tree_digest(code),
            "bytes": sum(path.stat().st_size for path in code.values()), "sources": [{"type": "local", "path": "code"}],
        }
    )  # fmt: skip
    return {
        "schema": 1,
        "experiment": {"name": "small", "title": "A small experiment", "authors": ["A. Author"], "licence": "CC0-1.0"},
        "image": {"recipe": "small"},
        "environment": {
            "lock": "small.txt", "lock_sha256": sha256(folder / "small.txt"), "threads": 1, "cpu_capability": "default",
            "variables": {"MALLOC_ARENA_MAX": "2"},
        },
        "artifacts": artifacts,
        "task": {"command": ["python3", "train.py", "{rate}", "{epochs}"], "code": "code"},
        "splits": {"train": {"artifact": "train", "format": "tsv"}, "test": {"artifact": "test", "format": "tsv"}},
        "hyperparameters": {"rate": 0.05, "epochs": 3},
        "determinism": {"seed": 42, "level": "bitwise"},
        "resources": {"time_limit_s": 60, "memory": "1 GiB"},
    }  # fmt: skip


def pinned(lab: Lab, first: Result) -> Manifest:
    """Return the manifest with everything that the first run told, and its record beside it."""
    assert first.run is not None
    report = first.report
    shutil.copy(first.run / "record.json", lab.folder / "record.json")
    manifest = {**lab.manifest}
    manifest["image"] = {
        "recipe": "small",
        "manifest_digest": report["image"]["manifest_digest"],
        "config_digest": report["image"]["config_digest"],
    }
    manifest["environment"] = {**manifest["environment"], "hash": report["environment_hash"]}
    (accuracy,) = (metric for metric in report["metrics"] if metric["name"] == "accuracy")
    manifest["expected"] = {
        "metrics": [{"name": "accuracy", "value": accuracy["value"], "absolute": 0.001}],
        "digests": [
            {"name": "weights", "sha256": sha256(first.run / "out/weights.json")},
            {"name": "predictions", "sha256": sha256(first.run / "out/predictions.tsv")},
        ],
    }
    manifest["recorded"] = {"file": "record.json", "sha256": sha256(lab.folder / "record.json")}
    return manifest
