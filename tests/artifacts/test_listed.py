"""Folders with a listing: found file by file, picked out of larger folders, and every wrong file named."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.store import Store
from repro_tui.errors import ArtifactUnavailableError, DigestMismatchError, DriftError, ManifestError
from repro_tui.manifest.folder_listing import read_listing
from repro_tui.manifest.models import Artifact
from repro_tui.manifest.trees import tree_digest, tree_files
from tests.artifacts.artifact_lab import sha256
from tests.artifacts.test_git_source import git

FILES = {"images/a.png": b"A", "images/b c.png": b"BB", "masks/a.png": b"A"}
NOWHERE = {"type": "local", "path": "nowhere"}


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """Return the artifact of FILES, which lie in tmp_path/whole beside others and are listed in tmp_path/list."""
    for name, data in {**FILES, "images/unlisted.png": b"no", "README": b"read me"}.items():
        path = tmp_path / "whole" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "whole" / "images" / "a.png").chmod(0o755)
    names = ["./images/a.png", "images/b c.png", "masks/a.png"]
    (tmp_path / "list").write_text("".join(f"{sha256(FILES[name.removeprefix('./')])}  {name}\n" for name in names))
    return listed(NOWHERE, tree_sha256=read_listing(tmp_path / "list").tree_sha256)


def listed(*sources: dict[str, Any], tree_sha256: str) -> Artifact:
    return Artifact.model_validate(
        {
            "name": "scenes", "kind": "data", "path": "scenes", "tree_sha256": tree_sha256, "listing": "list",
            "bytes": 4, "sources": list(sources),
        }
    )  # fmt: skip


def content(folder: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in tree_files(folder).items()}


def test_the_listing_gives_the_digest_of_the_plain_folder(artifact: Artifact, tmp_path: Path) -> None:
    for name, data in FILES.items():
        path = tmp_path / "plain" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert artifact.tree_sha256 == tree_digest(tree_files(tmp_path / "plain"))


def test_store_and_mirrors_serve_it_file_by_file(artifact: Artifact, store: Store, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "picture").write_bytes(b"A")
    (mirror / "picture").chmod(0o755)
    (mirror / "SHA256SUMS").write_text(f"{sha256(b'A')}  picture\n")
    (tmp_path / "b").write_bytes(b"BB")
    store.put_file(tmp_path / "b", sha256=sha256(b"BB"), component="b")
    folder = Fetcher(store, [mirror], base=tmp_path, offline=True).artifact(artifact)
    assert content(folder) == FILES
    assert folder == store.tree(artifact.tree_sha256 or "")


def test_a_size_that_nobody_measured_yet_is_no_size(artifact: Artifact, store: Store, tmp_path: Path) -> None:
    source = committed(tmp_path / "whole")
    wanted = listed(source, tree_sha256=artifact.tree_sha256 or "")
    fetcher = Fetcher(store, [], base=tmp_path)
    with pytest.raises(DriftError, match="has 4 bytes, the manifest says 5"):
        fetcher.artifact(wanted.model_copy(update={"bytes": 5}))
    assert content(fetcher.artifact(wanted.model_copy(update={"bytes": 0}))) == FILES


def test_what_store_and_mirrors_lack_is_named(artifact: Artifact, store: Store, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / sha256(b"A")).write_bytes(b"A")
    with pytest.raises(ArtifactUnavailableError) as caught:
        Fetcher(store, [mirror], base=tmp_path, offline=True).artifact(artifact)
    assert "file by file: it lacks 1 of the 3 files that list lists: images/b c.png" in caught.value.tried


def test_other_bytes_in_a_mirror_are_named_with_their_line(artifact: Artifact, store: Store, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / sha256(b"A")).write_bytes(b"A")
    (mirror / sha256(b"BB")).write_bytes(b"other")
    with pytest.raises(DigestMismatchError) as caught:
        Fetcher(store, [mirror], base=tmp_path, offline=True).artifact(artifact)
    error = caught.value
    assert (error.component, error.expected, error.observed) == (
        "scenes/images/b c.png",
        sha256(b"BB"),
        sha256(b"other"),
    )
    assert error.where is not None
    assert error.where.endswith(f"(named in {tmp_path / 'list'}, line 2)")


def packed(folder: Path) -> dict[str, Any]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder, arcname="package/whole")
    data = buffer.getvalue()
    (folder.parent / "mirror").mkdir()
    (folder.parent / "mirror" / sha256(data)).write_bytes(data)
    return {"type": "npm", "package": "p", "version": "1", "sha256": sha256(data), "path": "package/whole"}


def committed(folder: Path) -> dict[str, Any]:
    repository = folder.parent / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet", "-b", "main")
    shutil.copytree(folder, repository / "whole")
    (repository / "whole" / "large").write_bytes(b"x" * (3 << 20))  # more than is read for four bytes
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "First")
    commit = git(repository, "rev-parse", "HEAD")
    return {"type": "git", "url": str(repository), "commit": commit, "path": "whole"}


@pytest.mark.parametrize("kind", ["local", "archive", "git"])
def test_a_source_gives_just_the_listed_files(artifact: Artifact, store: Store, tmp_path: Path, kind: str) -> None:
    source = _source(kind, tmp_path)
    mirrors = [tmp_path / "mirror"] if kind == "archive" else []
    fetcher = Fetcher(store, mirrors, base=tmp_path)
    folder = fetcher.artifact(listed(source, tree_sha256=artifact.tree_sha256 or ""))
    assert content(folder) == FILES
    assert not any(path.stat().st_mode & 0o111 for path in tree_files(folder).values())
    measured = fetcher.measure("scenes", listed(source, tree_sha256="0" * 64).sources, "list")
    assert (measured.sha256, measured.bytes, measured.is_folder) == (artifact.tree_sha256, 4, True)


@pytest.mark.parametrize("kind", ["local", "archive", "git"])
@pytest.mark.parametrize("fault", ["missing", "other"])
def test_a_file_that_is_missing_or_another_is_named(
    artifact: Artifact, store: Store, tmp_path: Path, kind: str, fault: str
) -> None:
    file = tmp_path / "whole" / "masks" / "a.png"
    file.unlink()
    if fault == "other":
        file.write_bytes(b"Z")
    mirrors = [tmp_path / "mirror"] if kind == "archive" else []
    wanted = listed(_source(kind, tmp_path), tree_sha256=artifact.tree_sha256 or "")
    fetcher = Fetcher(store, mirrors, base=tmp_path)
    if fault == "missing":
        with pytest.raises(ArtifactUnavailableError) as caught:
            fetcher.artifact(wanted)
        assert "lacks 1 of the 3 files that list lists: masks/a.png" in caught.value.tried[-1]
    else:
        with pytest.raises(DigestMismatchError) as wrong:
            fetcher.artifact(wanted)
        assert (wrong.value.component, wrong.value.observed) == ("scenes/masks/a.png", sha256(b"Z"))
    with pytest.raises(ArtifactUnavailableError) as unknown:
        fetcher.measure("scenes", wanted.sources, "list")
    assert "masks/a.png" in unknown.value.tried[-1]


def _source(kind: str, folder: Path) -> dict[str, Any]:
    if kind == "local":
        return {"type": "local", "path": "whole"}
    if kind == "git" and shutil.which("git") is None:
        pytest.skip("git is not installed")
    return committed(folder / "whole") if kind == "git" else packed(folder / "whole")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no files"),
        (f"{'0' * 64}  a\nroot:x:0:0\n", "line 2: not a SHA-256, two spaces and a path"),
        (f"{'0' * 64}  ../a\n", "line 1: the path leads out of the folder"),
        (f"{'0' * 64}  /etc/a\n", "line 1: the path leads out of the folder"),
        (f"{'0' * 64}  a\n\n{'1' * 64}  ./a\n", "line 3: the path of line 1 a second time"),
        (f"{'0' * 64}  a\n{'1' * 64}  a/b\n", "line 1: a file that line 2 has as a folder"),
    ],
)
def test_what_is_wrong_with_a_listing_is_told_by_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(ValueError, match="list") as caught:
        read_listing(tmp_path / "list")
    assert words in str(caught.value)
    assert "x:0:0" not in str(caught.value)


def test_a_listing_that_is_gone_is_an_error_that_names_the_key(
    artifact: Artifact, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "list").unlink()
    with pytest.raises(ManifestError) as caught:
        Fetcher(store, [], base=tmp_path, offline=True).artifact(artifact)
    assert caught.value.where == "artifacts.scenes.listing"


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum")
def test_it_is_what_sha256sum_writes(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "back\\slash").write_bytes(b"1")
    (folder / "plain").write_bytes(b"2")
    written = subprocess.run(
        ["sha256sum", "back\\slash", "plain"], cwd=folder, check=True, capture_output=True, text=True
    )
    (tmp_path / "list").write_text(written.stdout)
    assert read_listing(tmp_path / "list").tree_sha256 == tree_digest(tree_files(folder))
