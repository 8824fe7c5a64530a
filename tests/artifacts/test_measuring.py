"""Artifacts that are not pinned yet: what they are, by their sources, and where they are afterwards."""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.store import Store
from repro_tui.errors import ArtifactUnavailableError
from repro_tui.manifest.models import Artifact, GitSource, HubSource
from repro_tui.manifest.trees import tree_digest
from tests.artifacts.artifact_lab import serving

COMMIT = {
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_CONFIG_GLOBAL": "/dev/null", "PATH": "/usr/bin:/bin",
}  # fmt: skip


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    return Fetcher(Store(tmp_path / "store"), [tmp_path / "mirror"], base=tmp_path)


def sources(*given: dict[str, Any]) -> Artifact:
    return Artifact.model_validate(
        {"name": "it", "kind": "data", "path": "it", "sha256": "0" * 64, "bytes": 0, "sources": list(given)}
    )


def measured(fetcher: Fetcher, *given: dict[str, Any]) -> tuple[str, int, bool]:
    found = fetcher.measure("it", sources(*given).sources)
    return found.sha256, found.bytes, found.is_folder


def test_local_files_and_folders(fetcher: Fetcher, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.csv").write_bytes(b"1,2\n")
    (folder / "b.csv").write_bytes(b"3\n")
    digest = hashlib.sha256(b"1,2\n").hexdigest()
    assert measured(fetcher, {"type": "local", "path": "data/a.csv"}) == (digest, 4, False)
    whole = tree_digest({name: folder / name for name in ("a.csv", "b.csv")})
    assert measured(fetcher, {"type": "local", "path": "data"}) == (whole, 6, True)
    part = tree_digest({"a.csv": folder / "a.csv"})
    assert measured(fetcher, {"type": "local", "path": "data", "files": ["a.csv"]}) == (part, 4, True)


def test_what_a_branch_is_now(fetcher: Fetcher, tmp_path: Path) -> None:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=tmp_path, env=COMMIT, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q", "-b", "trunk", "r")
    git("-C", "r", "commit", "-q", "--allow-empty", "-m", "one")
    git("-C", "r", "tag", "-a", "v1", "-m", "v1")
    git("-C", "r", "commit", "-q", "--allow-empty", "-m", "two")
    first, second = git("-C", "r", "rev-parse", "HEAD~1"), git("-C", "r", "rev-parse", "HEAD")
    source = GitSource.model_validate({"type": "git", "url": "r", "commit": "0" * 40})
    assert [fetcher.commit(source, name) for name in ("trunk", "v1", "HEAD")] == [second, first, second]
    with pytest.raises(ArtifactUnavailableError) as caught:
        fetcher.commit(source, "gone")
    assert "no branch and no tag 'gone'" in caught.value.tried[0]


def test_what_a_revision_of_the_hub_is_now(tmp_path: Path) -> None:
    source = HubSource.model_validate({"type": "hub", "repository": "o/n", "revision": "0" * 40, "path": "x"})
    with serving() as server:
        server.add("/api/models/o/n/revision/refs%2Fpr%2F1", b'{"sha": "' + b"a" * 40 + b'"}')
        server.add("/api/models/o/n/revision/main", b"[]")
        fetcher = Fetcher(Store(tmp_path / "store"), [], base=tmp_path, environ={"HF_ENDPOINT": server.address})
        assert fetcher.commit(source, "refs/pr/1") == "a" * 40
        with pytest.raises(ArtifactUnavailableError) as caught:
            fetcher.commit(source, "main")
    assert "names no commit" in caught.value.tried[0]


def test_the_first_source_that_has_it_decides(fetcher: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"x")
    found = fetcher.measure(
        "it", sources({"type": "local", "path": "gone"}, {"type": "local", "path": "there"}).sources
    )
    assert found.source == "local there"


def test_where_no_source_has_it_all_are_named(fetcher: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactUnavailableError) as caught:
        fetcher.measure("it", sources({"type": "local", "path": "gone"}, {"type": "local", "path": "empty"}).sources)
    assert [line.partition(": ")[0] for line in caught.value.tried] == ["local gone", "local empty"]


def test_files_and_folders_of_a_repository_are_kept_in_the_store(fetcher: Fetcher, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "data").mkdir(parents=True)
    (repository / "data" / "a.csv").write_bytes(b"1,2\n")

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=repository, env=COMMIT, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    source = {"type": "git", "url": "repository", "commit": git("rev-parse", "HEAD")}
    digest = hashlib.sha256(b"1,2\n").hexdigest()
    tree = tree_digest({"a.csv": repository / "data" / "a.csv"})
    assert measured(fetcher, {**source, "path": "data/a.csv"}) == (digest, 4, False)
    assert measured(fetcher, {**source, "path": "data"}) == (tree, 4, True)
    store = Store(tmp_path / "store")
    assert store.blob(digest) is not None
    assert store.tree(tree) is not None


def test_members_of_an_archive_that_is_pinned(fetcher: Fetcher, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("top/a.csv", b"1,2\n")
        archive.writestr("top/b.csv", b"3\n")
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / sha256).write_bytes(buffer.getvalue())
    source = {"type": "https", "url": "https://example.invalid/a.zip", "sha256": sha256}
    assert measured(fetcher, {**source, "path": "top/a.csv"}) == (hashlib.sha256(b"1,2\n").hexdigest(), 4, False)
    assert measured(fetcher, {**source, "path": "top"})[1:] == (6, True)


def test_offline_no_server_is_asked(tmp_path: Path) -> None:
    fetcher = Fetcher(Store(tmp_path / "store"), [], base=tmp_path, offline=True)
    with pytest.raises(ArtifactUnavailableError) as caught:
        fetcher.measure("it", sources({"type": "https", "url": "https://example.invalid/a.csv"}).sources)
    assert "offline" in caught.value.tried[0]
