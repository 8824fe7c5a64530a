"""A bundle that is as it should be: opened, entered in the store, and whole also the next time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.store import Store
from repro_tui.bundles.index import NAME
from repro_tui.bundles.opening import open_bundle, unpack
from repro_tui.manifest.loading import load
from repro_tui.runs.catalog import read_entry
from tests.bundles.experiment import Experiment, digest, tree
from tests.images.image_parts import Compiler, digests


def test_the_manifest_and_all_that_it_pins(experiment: Experiment, bundle: Path, store: Store) -> None:
    opened = open_bundle(bundle, store)
    assert opened.loaded.sha256 == load(experiment.manifest).sha256
    assert opened.lacks(store) == []
    fetcher = Fetcher(store, opened.mirrors, base=opened.manifest.parent, offline=True)
    for artifact, path in zip(
        opened.loaded.manifest.artifacts, fetcher.artifacts(opened.loaded.manifest.artifacts), strict=True
    ):
        assert path.exists(), artifact.name


def test_the_image_comes_from_it(experiment: Experiment, bundle: Path, tmp_path: Path, store: Store) -> None:
    opened = open_bundle(bundle, store)
    assert (opened.manifest.parent / "images/small/image.toml").is_file()
    parts = experiment.parts
    wanted = digests(parts.assemble(Store(tmp_path / "other"), compiler=Compiler()))
    from repro_tui.images.assemble import assemble
    from repro_tui.images.recipe import find_recipe

    fetcher = Fetcher(store, opened.mirrors, base=opened.manifest.parent, offline=True)
    recipe = find_recipe("small", near=(opened.manifest.parent,))
    lock = opened.loaded.resolve(opened.loaded.manifest.environment.lock or "")
    image = assemble(recipe, lock, store=store, fetcher=fetcher, run_in_root=Compiler(), processes=1)
    assert digests(image) == wanted


def test_the_recorded_run_is_a_run(experiment: Experiment, bundle: Path, store: Store) -> None:
    run = open_bundle(bundle, store).run
    assert run is not None
    entry = read_entry(run)
    assert entry.status == "REPRODUCED"
    assert entry.experiment == "tiny"


def test_blobs_are_entered_without_a_copy(bundle: Path, store: Store) -> None:
    opened = open_bundle(bundle, store)
    blobs = [member for member in opened.index.files if member.path.startswith("blobs/")]
    assert blobs
    for member in blobs:
        assert (store.root / "blobs" / member.sha256).stat().st_ino == (opened.folder / member.path).stat().st_ino


def test_opened_again_it_is_checked_and_not_written(bundle: Path, store: Store) -> None:
    first = open_bundle(bundle, store)
    stamps = {path: path.stat().st_ino for path in first.folder.rglob("*")}
    second = open_bundle(bundle, store)
    assert {path: path.stat().st_ino for path in second.folder.rglob("*")} == stamps


def test_what_was_changed_in_the_cache_is_unpacked_anew(bundle: Path, store: Store) -> None:
    opened = open_bundle(bundle, store)
    before = opened.manifest.read_bytes()
    opened.manifest.chmod(0o644)
    opened.manifest.write_bytes(before.replace(b"seed = 1", b"seed = 2"))
    assert open_bundle(bundle, store).manifest.read_bytes() == before
    (opened.folder / "LICENCE").unlink()
    (opened.folder / "LICENCE").symlink_to("/etc/hostname")
    assert open_bundle(bundle, store).index.member("LICENCE") is not None
    assert not (opened.folder / "LICENCE").is_symlink()


def test_a_blob_that_was_pruned_comes_back(bundle: Path, store: Store) -> None:
    opened = open_bundle(bundle, store)
    (member, *_) = opened.index.with_role("wheel")
    (store.root / "blobs" / member.sha256).unlink()
    open_bundle(bundle, store)
    assert store.blob(member.sha256) is not None


def test_from_a_place_that_may_only_be_read(bundle: Path, tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "cd"
    folder.mkdir()
    copy = folder / "x.repro.tar"
    copy.write_bytes(bundle.read_bytes())
    copy.chmod(0o444)
    folder.chmod(0o555)
    try:
        assert open_bundle(copy, store).loaded.manifest.experiment.name == "tiny"
    finally:
        folder.chmod(0o755)


def test_unpacked_it_is_what_the_index_says(bundle: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        index = unpack(bundle, tmp_path / "out")
    finally:
        os.umask(before)
    found = tree(tmp_path / "out")
    assert found.keys() == {member.path for member in index.files} | {NAME}
    for member in index.files:
        assert digest(tmp_path / "out" / member.path) == member.sha256
        mode = (tmp_path / "out" / member.path).stat().st_mode & 0o777
        assert mode == (0o555 if member.executable else 0o444)


def test_unpacking_into_what_is_there(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        unpack(bundle, tmp_path)
    assert not list(tmp_path.iterdir())
