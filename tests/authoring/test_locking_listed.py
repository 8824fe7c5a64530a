"""Locking a folder with a listing: what the list names is pinned, and pinned again when the list changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_tui.manifest.folder_listing import read_listing
from repro_tui.manifest.loading import inspect, load
from tests.artifacts.artifact_lab import sha256
from tests.authoring.locking_lab import Project

pytest.importorskip("uv", reason="a dependency lock is made with uv: pip install 'repro-tui[author]'")

SCENES = """
[[artifacts]]
name = "scenes"
kind = "data"
path = "scenes"
listing = "scenes.sha256"
sources = [{ type = "local", path = "scenes" }]
"""


def test_the_list_is_pinned_and_renewed(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.path.write_text(project.path.read_text() + SCENES)
    scenes, listing = tmp_path / "scenes", tmp_path / "scenes.sha256"
    scenes.mkdir()
    for name in "abc":
        (scenes / name).write_text(name)
    listing.write_text(f"{sha256(b'a')}  a\n")
    assert {problem.toml_path for problem in inspect(project.path).problems} >= {"artifacts[2].tree_sha256"}
    project.lock()
    assert load(project.path).manifest.artifact("scenes").tree_sha256 == read_listing(listing).tree_sha256
    assert project.found() == []

    listing.write_text(f"{sha256(b'a')}  a\n{sha256(b'b')}  b\n")
    assert next((each.key, each.words.split()[0]) for each in project.found()) == (
        "artifacts.scenes.tree_sha256",
        "stale:",
    )
    project.lock()
    pinned = load(project.path).manifest.artifact("scenes")
    assert (pinned.tree_sha256, pinned.bytes) == (read_listing(listing).tree_sha256, 2)
