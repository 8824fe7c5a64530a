"""Git sources, from real repositories on this host: exact bytes, and nothing of the repository is run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.errors import ArtifactUnavailableError, DriftError
from tests.artifacts.artifact_lab import file_artifact, tree_artifact

DATA = b"line\r\n$Id$\n" * 20

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose attributes and hooks would change what is taken from it, if they took part."""
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet", "-b", "main")
    (path / "data").mkdir()
    (path / "data" / "train.tab").write_bytes(DATA)
    (path / "data" / "run.sh").write_bytes(b"#!/bin/sh\n")
    (path / "data" / "run.sh").chmod(0o755)
    (path / ".gitattributes").write_text("*.tab ident\n")
    git(path, "-c", "core.autocrlf=false", "add", ".")
    git(path, "commit", "--quiet", "-m", "First")
    (path / ".gitattributes").write_text("* text eol=crlf ident export-subst filter=evil\n*.tab export-ignore\n")
    git(path, "add", ".gitattributes")
    git(path, "commit", "--quiet", "-m", "Attributes")
    git(path, "config", "uploadpack.allowAnySHA1InWant", "true")
    return path


def source(repository: Path | str, commit: str, path: str) -> dict[str, Any]:
    return {"type": "git", "url": str(repository), "commit": commit, "path": path}


def test_a_file_has_the_bytes_that_were_committed(repository: Path, fetcher: Fetcher) -> None:
    head = git(repository, "rev-parse", "HEAD")
    assert fetcher.artifact(file_artifact(DATA, source(repository, head, "data/train.tab"))).read_bytes() == DATA


def test_an_old_commit_relative_address_and_a_server_that_serves_only_branches(
    repository: Path, fetcher: Fetcher
) -> None:
    first = git(repository, "rev-parse", "HEAD~1")
    git(repository, "config", "--unset", "uploadpack.allowAnySHA1InWant")
    artifact = file_artifact(b"*.tab ident\n", source(repository.name, first, ".gitattributes"))
    assert fetcher.artifact(artifact).read_bytes() == b"*.tab ident\n"


@pytest.mark.parametrize("path", ["data", "."])
def test_a_folder_of_a_commit_is_a_tree(repository: Path, fetcher: Fetcher, tmp_path: Path, path: str) -> None:
    head = git(repository, "rev-parse", "HEAD")
    expected = tmp_path / "expected"
    shutil.copytree(repository / path, expected, ignore=shutil.ignore_patterns(".git"))
    found = fetcher.artifact(tree_artifact(expected, source(repository, head, path)))
    assert (found / ("train.tab" if path == "data" else "data/train.tab")).read_bytes() == DATA


def test_what_is_not_there_is_said(repository: Path, fetcher: Fetcher, tmp_path: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    cases = {
        "has no file data/missing": source(repository, head, "data/missing"),
        "no branch or tag there holds": source(repository, "b" * 40, "data/train.tab"),
        "git: ": source(tmp_path / "missing.git", head, "data/train.tab"),
        "begins with a dash": source("--upload-pack=touch /tmp/owned", head, "x"),
    }
    for words, each in cases.items():
        with pytest.raises(ArtifactUnavailableError) as caught:
            fetcher.artifact(file_artifact(DATA, each))
        assert words in caught.value.tried[-1]


def test_a_transport_that_runs_commands_is_refused(fetcher: Fetcher, tmp_path: Path) -> None:
    with pytest.raises(ArtifactUnavailableError):
        fetcher.artifact(file_artifact(DATA, source(f"ext::touch {tmp_path}/owned", "a" * 40, "x")))
    assert not (tmp_path / "owned").exists()


def test_links_and_large_files_do_not_pass(repository: Path, fetcher: Fetcher, tmp_path: Path) -> None:
    (repository / "data" / "link").symlink_to("/etc/passwd")
    (repository / "large").write_bytes(b"x" * (2 << 20))
    git(repository, "add", "data/link", "large")
    git(repository, "commit", "--quiet", "-m", "Link")
    head = git(repository, "rev-parse", "HEAD")
    (tmp_path / "empty").mkdir()
    for artifact in (
        file_artifact(DATA, source(repository, head, "data/link")),
        tree_artifact(tmp_path / "empty", source(repository, head, "data")),
    ):
        with pytest.raises(ArtifactUnavailableError) as caught:
            fetcher.artifact(artifact)
        assert "link is a symbolic link" in caught.value.tried[-1]
    with pytest.raises(DriftError, match="far more"):
        fetcher.artifact(file_artifact(DATA, source(repository, head, "large")))


def test_a_pointer_of_git_lfs_is_recognized(repository: Path, fetcher: Fetcher) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5\n"
    (repository / "weights").write_bytes(pointer)
    git(repository, "-c", "filter.evil.required=false", "add", "weights")
    git(repository, "commit", "--quiet", "-m", "Pointer")
    head = git(repository, "rev-parse", "HEAD")
    with pytest.raises(ArtifactUnavailableError) as caught:
        fetcher.artifact(file_artifact(DATA, source(repository, head, "weights")))
    assert "Git LFS" in caught.value.tried[-1]
