"""A folder of which only some files are meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.store import Store
from repro_tui.errors import ArtifactUnavailableError
from repro_tui.manifest.sources import Artifact, LocalSource
from repro_tui.manifest.trees import chosen_files, tree_digest


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name in ("train.py", "model/net.py", "model/__pycache__/net.pyc", ".git/config", "data/big.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "away").symlink_to("/etc")
    return folder


def test_named_files_and_folders_without_byte_code(project: Path) -> None:
    assert sorted(chosen_files(project, ["train.py", "model"])) == ["model/net.py", "train.py"]


@pytest.mark.parametrize("name", ["away", "away/passwd", "gone.py"])
def test_links_and_what_is_not_there_are_refused(project: Path, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        chosen_files(project, [name])


def artifact(digest: str, files: list[str], size: int) -> Artifact:
    source = LocalSource(type="local", path="project", files=files)
    return Artifact(name="code", kind="code", path="code", tree_sha256=digest, bytes=size, sources=[source])


def test_a_local_source_brings_only_them(project: Path, tmp_path: Path) -> None:
    chosen = chosen_files(project, ["model", "train.py"])
    size = sum(file.stat().st_size for file in chosen.values())
    fetcher = Fetcher(Store(tmp_path / "store"), [], base=tmp_path)
    found = fetcher.artifact(artifact(tree_digest(chosen), ["train.py", "model"], size))
    assert sorted(file.relative_to(found).as_posix() for file in found.rglob("*") if file.is_file()) == [
        "model/net.py",
        "train.py",
    ]


def test_a_named_file_that_is_gone_is_said(project: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactUnavailableError) as caught:
        Fetcher(Store(tmp_path / "store"), [], base=tmp_path).artifact(artifact("0" * 64, ["gone.py"], 1))
    assert any("gone.py is not in" in line for line in caught.value.tried)
