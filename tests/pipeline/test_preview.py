from __future__ import annotations

from pathlib import Path

import pytest

from repro_tui.artifacts.store import Store
from repro_tui.engines import choose
from repro_tui.engines.fake import FakeEngine
from repro_tui.manifest.loading import LoadedManifest, load
from repro_tui.manifest.trees import tree_digest, tree_files
from repro_tui.pipeline import preview as previews
from repro_tui.pipeline.preview import BESIDE, BUILD, CACHED, FETCH, MIRROR, Estimate, preview
from repro_tui.runs.catalog import RunEntry
from repro_tui.runs.directory import RunDirectory
from tests.cli.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(choose, "ENGINES", {"fake": FakeEngine})
    made = Project(tmp_path)
    made.write()
    return made


def loaded(project: Project) -> LoadedManifest:
    return load(project.manifest)


def states(found: previews.Preview) -> dict[str, str]:
    return {need.name: need.state for need in found.needs}


def test_what_lies_beside_the_manifest_is_seen(project: Project, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    found = preview(loaded(project), store=store)
    assert states(found) == {"image": BUILD, "numbers": BESIDE, "code": BESIDE}
    assert "1 of 1 wheels to fetch" in found.needs[0].detail
    assert found.needs[0].at_least, "no lock tells the size of a wheel"
    assert found.unknown == 1
    assert found.engine.name == "fake"
    assert found.blockers == ()
    assert not store.root.exists(), "looking makes no store"


def test_what_is_in_the_store_or_a_mirror_is_seen(project: Project, tmp_path: Path) -> None:
    manifest = loaded(project)
    sha256 = manifest.manifest.artifact("numbers").sha256 or ""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / sha256).write_bytes((tmp_path / "numbers.txt").read_bytes())
    store = Store(tmp_path / "store")
    assert states(preview(manifest, store=store, mirrors=[mirror]))["numbers"] == MIRROR
    store.put_file(tmp_path / "numbers.txt", sha256=sha256, component="numbers")
    tree = tree_digest(tree_files(tmp_path / "code"))
    store.put_tree(tmp_path / "code", tree_sha256=tree, component="code")
    assert states(preview(manifest, store=store))["numbers"] == CACHED
    assert states(preview(manifest, store=store))["code"] == CACHED
    store.close()


def test_what_must_be_fetched_is_counted_and_blocks_a_run_offline(project: Project, tmp_path: Path) -> None:
    archive = "c" * 64
    source = f'{{ type = "pip", package = "numbers", version = "1.0", sha256 = "{archive}", path = "n.txt" }}'
    project.change('{ type = "local", path = "numbers.txt" }', source)
    manifest, store = loaded(project), Store(tmp_path / "store")
    found = preview(manifest, store=store)
    assert states(found)["numbers"] == FETCH
    assert found.needs[1].detail == "pip numbers 1.0"
    assert found.missing_bytes == 6 + (found.needs[0].size_bytes or 0)
    offline = preview(manifest, store=store, offline=True)
    assert [blocker.message for blocker in offline.blockers] == [
        "offline, and image is not on this host", "offline, and numbers is not on this host",
    ]  # fmt: skip
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / archive).write_bytes(b"any")
    near = preview(manifest, store=store, mirrors=[mirror]).needs[1]
    assert (near.state, near.detail) == (CACHED, "in pip numbers 1.0, which is here")


def test_what_stands_in_the_way_has_a_remedy(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    project.change('recipe = "torch-cpu"', 'recipe = "no-such-recipe"\nplatform = "linux/arm64"')
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    found = preview(loaded(project), store=store)
    assert [blocker.message for blocker in found.blockers] == [
        "there is no image recipe named 'no-such-recipe'", "the image is for linux/arm64, this host is linux/amd64",
    ]  # fmt: skip
    assert all(blocker.remedy for blocker in found.blockers)
    assert found.engine.name == ""


def test_an_engine_that_does_not_exist_is_told(project: Project, tmp_path: Path) -> None:
    (blocker,) = preview(loaded(project), store=Store(tmp_path / "store"), engine="docker").blockers
    assert "docker" in blocker.message


def entry(experiment: str, status: str, duration_s: float | None = 10.0) -> RunEntry:
    return RunEntry(RunDirectory(Path(status)), status, experiment, duration_s=duration_s)


def test_the_time_is_that_of_the_last_whole_runs() -> None:
    entries = [
        entry("x", "FAILED", 1.0), entry("x", "REPRODUCED", 30.0), entry("y", "REPRODUCED", 1.0),
        entry("x", "METRICS DIFFER", 10.0), entry("x", "REPRODUCED", 20.0), entry("x", "CANCELLED", 2.0),
    ]  # fmt: skip
    assert previews.estimate(entries, "x") == Estimate(20.0, 10.0, 30.0, 3)
    assert previews.estimate(entries, "z") is None
    assert previews.latest(entries, "x") == entries[0]
    assert previews.latest(entries, "z") is None
