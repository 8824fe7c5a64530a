"""`repro-tui lock` as its user meets it: what is on stdout, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repro_tui.cli.main import main
from tests.authoring.locking_lab import MANIFEST, Project

pytest.importorskip("uv", reason="a dependency lock is made with uv: pip install 'repro-tui[author]'")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def lock(project: Project, *options: str) -> int:
    with project.fake_image():
        return main(["lock", str(project.path), "--store", str(project.folder / "store"), *options])


def test_a_loose_manifest_is_named_locked_and_found_in_order(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lock(project, "--check") == 1
    lines = capsys.readouterr().out.splitlines()
    assert (
        f'{project.path}:13: environment.lock: nothing, wanted is the dependency lock made from "requirements.txt"'
        in (lines)
    )
    assert lock(project, "--dry-run") == 0
    assert f"would write {project.path}" in capsys.readouterr().out
    assert project.path.read_text() == MANIFEST
    assert lock(project) == 0
    out = capsys.readouterr().out
    assert "  + alpha 1.1\n" in out
    assert "environment.lock = requirements.lock.txt\n" in out
    assert lock(project, "--check") == 0
    assert capsys.readouterr().out == ""
    assert lock(project) == 0
    assert capsys.readouterr().out == "nothing changed\n"
    assert main(["check", str(project.path)]) == 0


def test_json_has_every_change(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert lock(project, "--check", "--json") == 1
    assert {"key": "image.manifest_digest", "where": f"{project.path}:10", "words": "nothing, wanted is the digest of the image"} in (
        json.loads(capsys.readouterr().out)["findings"]
    )  # fmt: skip
    assert lock(project, "--json", "--only", "artifacts,code") == 0
    document = json.loads(capsys.readouterr().out)
    assert {change["key"].split(".")[0] for change in document["changes"]} == {"artifacts"}
    assert document["files"] == [str(project.path)]


def test_upgrade_does_not_take_the_manifest_for_a_package(project: Project) -> None:
    words = ["lock", "--only", "dependencies", "--dry-run", "--upgrade", str(project.path)]
    with project.fake_image():
        assert main(words) == 0
        assert main([*words, "alpha"]) == 0
    assert main(["lock", "--upgrade", "alpha"]) == 2


@pytest.mark.parametrize("options", [["--only", "everything"], ["--check", "--upgrade"], ["--check", "--dry-run"]])
def test_what_cannot_be_asked_for(project: Project, options: list[str]) -> None:
    assert lock(project, *options) == 2
    assert project.path.read_text() == MANIFEST


def test_a_run_of_a_loose_manifest_is_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(project.path), "--runs", str(project.folder / "runs")]) == 2
    assert f"`repro-tui lock {project.path}` pins it" in capsys.readouterr().err
    assert not (project.folder / "runs").exists()


@pytest.mark.parametrize("name", ["sst2-minilm", "reuters-r8-minilm", "reuters-r8-minilm-cuda", "plain-pytorch"])
def test_shipped_manifests_are_locked(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = "dependencies,artifacts,code"
    assert main(["lock", f"manifests/{name}.toml", "--check", "--only", only, "--store", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""
