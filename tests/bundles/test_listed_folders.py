"""A folder with a listing in a bundle: the list goes along, beside the manifest as it is named, and serves the reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.store import Store
from repro_tui.bundles.contents import Wish
from repro_tui.bundles.opening import open_bundle
from repro_tui.bundles.packing import pack
from repro_tui.manifest.folder_listing import read_listing
from repro_tui.manifest.loading import inspect, load
from tests.bundles.experiment import Experiment, digest

SCENES = """
[[artifacts]]
name = "scenes"
kind = "data"
path = "scenes"
tree_sha256 = "{tree}"
listing = "../lists/scenes.sha256"
bytes = 2
sources = [{{ type = "local", path = "../scenes" }}]
"""


@pytest.fixture
def listed(tmp_path: Path) -> Experiment:
    """Return the experiment with one artifact more, two files of a folder of three."""
    made = Experiment(tmp_path / "tiny")
    made.write()
    scenes, lists = made.folder / "scenes", made.folder / "lists"
    (scenes / "a").mkdir(parents=True)
    lists.mkdir()
    for name in ("a/1", "2", "unlisted"):
        (scenes / name).write_text("x")
    (lists / "scenes.sha256").write_text("".join(f"{digest(scenes / name)}  {name}\n" for name in ("a/1", "2")))
    tree = read_listing(lists / "scenes.sha256").tree_sha256
    made.manifest.write_text(made.manifest.read_text() + SCENES.format(tree=tree))
    return made


def packed(experiment: Experiment, target: Path, **wish: object) -> Path:
    store = experiment.store
    mirror = experiment.parts.mirror
    fetcher = Fetcher(store, [mirror], base=experiment.manifest.parent, offline=True)
    wished = Wish(**wish)  # type: ignore[arg-type]  # keys of the wish
    return pack(
        load(experiment.manifest), target, store=store, fetcher=fetcher, run=None, wish=wished, offline=True
    ).path


def test_the_bundle_has_the_listed_files_and_the_list(listed: Experiment, tmp_path: Path) -> None:
    bundle = packed(listed, tmp_path / "b.repro.tar")
    opened = open_bundle(bundle, Store(tmp_path / "reader"))
    tree = opened.loaded.manifest.artifact("scenes").tree_sha256
    assert {member.path for member in opened.index.files if "trees" in member.path and member.role == "data"} == {
        f"trees/{tree}/2",
        f"trees/{tree}/a/1",
    }
    assert [member.path for member in opened.index.with_role("listing")] == ["experiment/lists/scenes.sha256"]


def test_a_reader_whom_the_folder_was_not_given_finds_its_files_by_the_list(listed: Experiment, tmp_path: Path) -> None:
    bundle = packed(listed, tmp_path / "b.repro.tar", exclude=("scenes",))
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / digest(listed.folder / "scenes" / "2")).write_text("x")
    store = Store(tmp_path / "reader")
    opened = open_bundle(bundle, store)
    artifact = opened.loaded.manifest.artifact("scenes")
    fetcher = Fetcher(store, [mirror], base=opened.manifest.parent, offline=True, local=False)
    assert sorted(path.name for path in fetcher.artifact(artifact).rglob("*") if path.is_file()) == ["1", "2"]


def test_a_list_of_another_folder_is_a_problem_of_the_manifest(listed: Experiment) -> None:
    path = listed.folder / "lists" / "scenes.sha256"
    path.write_text(path.read_text().replace("  2\n", "  3\n"))
    (problem,) = inspect(listed.manifest).problems
    assert problem.toml_path == "artifacts[3].tree_sha256"
    assert read_listing(path).tree_sha256 in problem.found
    path.write_text("nothing\n")
    (problem,) = inspect(listed.manifest).problems
    assert problem.toml_path == "artifacts[3].listing"
    assert "line 1" in problem.found
    listed.manifest.write_text(listed.manifest.read_text().replace("tree_sha256 = ", "sha256 = ", 2))
    assert any("`tree_sha256`" in f"{problem.allowed}" for problem in inspect(listed.manifest).problems)
