"""Bundles that would fill a disk or a memory, places that are not as they were, and what goes wrong on the way."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.store import Store
from repro_tui.bundles import index, opening
from repro_tui.bundles.opening import Bundle, open_bundle, unpack
from repro_tui.errors import ArtifactUnavailableError, BundleError, StoreFullError, UsageError
from repro_tui.pipeline.origin import bundle_of
from tests.bundles.experiment import Experiment, Forgery, digest, tree


def left_in(store: Store) -> list[Path]:
    """Return what an opening that failed left behind."""
    return [path for name in ("scratch", "blobs", "derived/bundles") for path in (store.root / name).glob("*")]


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_more_folders_than_a_bundle_needs(bundle: Path, tmp_path: Path, store: Store) -> None:
    forged = Forgery.of(bundle)
    deep = "/".join("a" * 480)
    for number in range(50):
        forged.add(f"experiment/{number:02}/{deep}", b"")
    with pytest.raises(BundleError, match="more than 20000 folders"):
        open_bundle(forged.write(tmp_path / "x.repro.tar"), store)
    assert not left_in(store)


@pytest.mark.parametrize("role", ["manifest", "report", "recipe", "citation"])
def test_a_text_that_nobody_could_read(bundle: Path, tmp_path: Path, store: Store, role: str) -> None:
    forged = Forgery.of(bundle)
    forged.entry(forged.path(role))["bytes"] = index.MAX_TEXT_BYTES + 1
    with pytest.raises(BundleError, match="more than 256 MiB"):
        open_bundle(forged.write(tmp_path / "x.repro.tar"), store)


def test_room_for_many_small_files_counts_their_blocks(
    bundle: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_BLOCK_BYTES", 1 << 50)
    with pytest.raises(StoreFullError):
        open_bundle(bundle, store)
    assert not left_in(store)


def test_names_do_not_steer_a_terminal(bundle: Path, tmp_path: Path, store: Store) -> None:
    forged = Forgery.of(bundle)
    path = forged.path("wheel")
    forged.entry(path)["name"] = "six\x1b]0;owned\x07"
    content = bytearray(forged.members[path])
    content[0] ^= 1
    forged.members[path] = bytes(content)
    with pytest.raises(BundleError) as caught:
        open_bundle(forged.write(tmp_path / "x.repro.tar"), store)
    assert caught.value.message.isprintable()
    assert "six?]0;owned?" in caught.value.message


def test_something_left_out_without_a_digest(bundle: Path, tmp_path: Path, store: Store) -> None:
    forged = Forgery.of(bundle)
    forged.index["left_out"] = [{"artifact": "x", "bytes": 1, "reason": "so"}]
    with pytest.raises(BundleError, match="'x', needs one digest"):
        open_bundle(forged.write(tmp_path / "x.repro.tar"), store)


def test_a_pipe_is_not_waited_for(tmp_path: Path, store: Store) -> None:
    os.mkfifo(tmp_path / "x.repro.tar")
    with pytest.raises(BundleError, match="there is no bundle"):
        open_bundle(tmp_path / "x.repro.tar", store)


def test_places_of_the_author_are_not_looked_at(bundle: Path, tmp_path: Path, store: Store) -> None:
    opened = open_bundle(bundle, store)
    artifact = opened.loaded.manifest.artifacts[0]
    (opened.manifest.parent / "numbers.tsv").write_text("1 2 3\n")
    fetcher = Fetcher(Store(tmp_path / "other"), [], base=opened.manifest.parent, offline=True, local=False)
    with pytest.raises(ArtifactUnavailableError) as caught:
        fetcher.artifact(artifact)
    assert "the machine of the bundle's author" in " ".join(caught.value.tried)


def test_a_bundle_takes_the_place_of_no_device(experiment: Experiment, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="no plain file"):
        experiment.pack(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


# --- what the store holds of it ---------------------------------------------------------------------------------------


def test_its_digest_is_that_of_the_bytes_that_were_checked(bundle: Path, tmp_path: Path, store: Store) -> None:
    assert open_bundle(bundle, store).sha256 == digest(bundle)
    assert open_bundle(bundle, store).sha256 == digest(bundle), "also where it is known"
    odd = tmp_path / os.fsdecode(b"n\xffme.repro.tar")
    odd.write_bytes(bundle.read_bytes())
    used = bundle_of(open_bundle(odd, store).manifest)
    assert used is not None
    assert (used.name, used.sha256) == ("n\\udcffme.repro.tar", digest(bundle))


@pytest.mark.parametrize("what", ["a blob", "a tree", "more", "a link", "a mode"])
def test_what_changed_in_the_store_is_had_anew(bundle: Path, store: Store, what: str) -> None:
    opened = open_bundle(bundle, store)
    before = tree(opened.folder)
    blob = next(path for path in (opened.folder / "blobs").iterdir() if path.stat().st_size)
    code = next(path for path in (opened.folder / "trees").rglob("run.sh"))
    if what in {"a blob", "a tree"}:
        path = blob if what == "a blob" else code
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)
    elif what == "more":
        (opened.folder / "SHA256SUMS").write_text(f"{'0' * 64}  /etc/hostname\n")
    elif what == "a link":
        blob.rename(opened.folder.parent / "moved")
        blob.symlink_to(opened.folder.parent / "moved")
    else:
        code.chmod(0o444)
    again = open_bundle(bundle, store)
    assert tree(again.folder) == before
    assert next((again.folder / "trees").rglob("run.sh")).stat().st_mode & 0o777 == 0o555
    fetcher = Fetcher(Store(store.root.parent / "other"), again.mirrors, base=again.folder, offline=True, local=False)
    assert len(fetcher.artifacts(again.loaded.manifest.artifacts)) == 3


def test_a_blob_that_is_executable_is_not_shared_with_the_store(bundle: Path, tmp_path: Path, store: Store) -> None:
    forged = Forgery.of(bundle)
    path = forged.path("weights")
    forged.entry(path)["executable"] = True
    opened = open_bundle(forged.write(tmp_path / "x.repro.tar"), store)
    assert not store.has_blob(path.rpartition("/")[2])
    assert (opened.folder / path).stat().st_mode & 0o777 == 0o555


# --- on the way -------------------------------------------------------------------------------------------------------


def test_two_at_once(bundle: Path, store: Store) -> None:
    def one(_: int) -> Bundle:
        return open_bundle(bundle, Store(store.root))

    with ThreadPoolExecutor(4) as pool:
        folders = {each.folder for each in pool.map(one, range(4))}
    assert len(folders) == 1
    assert not list((store.root / "scratch").glob("*"))


KILLED = """\
import os, signal, sys
from pathlib import Path
from repro_tui.artifacts.store import Store
from repro_tui.bundles import opening

count = 0
write = os.write

def last_words(descriptor, content):
    global count
    count += 1
    if count == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(descriptor, content)

opening.os.write = last_words
opening.open_bundle(Path(sys.argv[1]), Store(Path(sys.argv[2])))
"""


def test_killed_while_opening(bundle: Path, store: Store) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(bundle), str(store.root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list((store.root / "scratch").glob("*/bundle")), "half of it"
    assert not list((store.root / "derived/bundles").glob("*"))
    opened = open_bundle(bundle, store)
    assert {*tree(opened.folder)} == {each.path for each in opened.index.files} | {"opened.json"}
    assert not list((store.root / "scratch").glob("*")), "what the dead one left is swept"


def test_a_disk_that_fills_up_meanwhile(
    bundle: Path, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_folder: Path) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(_folder))

    monkeypatch.setattr("os.fchmod", lambda _descriptor, mode: full(tmp_path) if mode != 0o644 else None)
    with pytest.raises(StoreFullError):
        open_bundle(bundle, store)
    assert not left_in(store)
    with pytest.raises(OSError, match="No space left"):
        unpack(bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()
