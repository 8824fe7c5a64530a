"""Mirror folders: found by SHA256SUMS or by name, and never believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.mirrors import Mirror, mirrors_from
from repro_tui.artifacts.store import Store
from repro_tui.errors import ArtifactUnavailableError, DigestMismatchError, UsageError
from tests.artifacts.artifact_lab import file_artifact, sha256, tree_artifact

DATA = b"the data\n"
NOWHERE = {"type": "local", "path": "nowhere"}


def fetcher_with(store: Store, *mirrors: Path) -> Fetcher:
    return Fetcher(store, mirrors, base=store.root.parent, offline=True)


def test_sums_of_sha256sum_are_read(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    names = ["plain", "./sub/dotted", "with two  spaces", "back\\slash"]
    lines = []
    for name in names:
        (tmp_path / name).write_text(name)
        digest = sha256(name.encode())
        lines.append(
            f"\\{digest}  back\\\\slash\n" if "\\" in name else f"{digest} {'*' if name == 'plain' else ' '}{name}\n"
        )
    (tmp_path / "SHA256SUMS").write_text("# a comment\n" + "".join(lines) + f"{'0' * 64}  gone\n")
    mirror = Mirror(tmp_path)
    assert [[path.read_text() for path in mirror.files(sha256(name.encode()))] for name in names] == [
        [n] for n in names
    ]
    assert mirror.files("0" * 64) == []


@pytest.mark.parametrize("place", ["{}", "{}.whl", "sha256/{}", "blobs/{}", "blobs/sha256/{}"])
def test_files_named_by_digest_are_found(store: Store, tmp_path: Path, place: str) -> None:
    mirror = tmp_path / "mirror"
    path = mirror / place.format(sha256(DATA))
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    assert fetcher_with(store, mirror).artifact(file_artifact(DATA, NOWHERE)).read_bytes() == DATA


def test_a_mirror_is_read_again_when_it_changed(tmp_path: Path) -> None:
    sums = tmp_path / "SHA256SUMS"
    sums.write_text("")
    mirror = Mirror(tmp_path)
    assert mirror.files(sha256(DATA)) == []
    (tmp_path / "late").write_bytes(DATA)
    sums.write_text(f"{sha256(DATA)}  late\n")
    assert mirror.files(sha256(DATA)) == [tmp_path / "late"]


@pytest.mark.parametrize("listed", [True, False])
def test_other_bytes_under_a_digest_are_an_error_that_names_both(store: Store, tmp_path: Path, listed: bool) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    bad = mirror / ("weights.bin" if listed else sha256(DATA))
    bad.write_bytes(b"tampered")
    if listed:
        (mirror / "SHA256SUMS").write_text(f"{sha256(DATA)}  ./weights.bin\n")
    with pytest.raises(DigestMismatchError) as caught:
        fetcher_with(store, mirror).artifact(file_artifact(DATA, NOWHERE, name="weights"))
    error = caught.value
    assert (error.component, error.expected, error.observed) == ("weights", sha256(DATA), sha256(b"tampered"))
    assert error.where == str(bad)


def test_the_first_mirror_that_has_it_serves_and_all_are_listed_when_none_has(store: Store, tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    for mirror in (empty, full):
        mirror.mkdir()
    (full / sha256(DATA)).write_bytes(DATA)
    fetcher = fetcher_with(store, empty, full)
    assert fetcher.artifact(file_artifact(DATA, NOWHERE)).read_bytes() == DATA
    with pytest.raises(ArtifactUnavailableError) as caught:
        fetcher.artifact(file_artifact(b"else", NOWHERE))
    assert [str(empty) in line or str(full) in line for line in caught.value.tried] == [False, True, True, False]


def test_a_mirror_serves_trees_by_their_digest(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "train.py").write_bytes(DATA)
    artifact = tree_artifact(folder, NOWHERE)
    assert artifact.tree_sha256 is not None
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    folder.rename(mirror / artifact.tree_sha256)
    assert (fetcher_with(store, mirror).artifact(artifact) / "train.py").read_bytes() == DATA


def test_a_copy_of_a_store_is_a_mirror(store: Store, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(DATA)
    other = Store(tmp_path / "other")
    other.put_file(tmp_path / "source", sha256=sha256(DATA), component="thing")
    assert fetcher_with(store, other.root).artifact(file_artifact(DATA, NOWHERE)).read_bytes() == DATA


def test_options_come_before_the_environment_and_each_counts_once(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    for folder in (one, two, three):
        folder.mkdir()
    environ = {"REPRO_TUI_MIRROR": os.pathsep.join(["", str(one), str(three)])}
    assert mirrors_from([two, str(one)], environ) == (two, one, three)
    assert mirrors_from([], {}) == ()


def test_a_mirror_that_is_no_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        mirrors_from([tmp_path / "nowhere"], {})
    with pytest.raises(UsageError) as caught:
        mirrors_from([], {"REPRO_TUI_MIRROR": str(tmp_path / "nowhere")})
    assert caught.value.where == "REPRO_TUI_MIRROR"
