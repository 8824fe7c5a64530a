"""Bundles that somebody changed, each refused by name, with nothing of it used or left behind."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro_tui.artifacts.store import Store
from repro_tui.bundles import reading
from repro_tui.bundles.index import MAX_INDEX_BYTES, NAME
from repro_tui.bundles.opening import open_bundle, unpack
from repro_tui.bundles.reading import looks_like_bundle, verify
from repro_tui.errors import BundleError, StoreFullError
from repro_tui.images import tar
from tests.bundles.experiment import Experiment, Forgery, entry_bytes, flipped, spliced, tree, with_member

Change = Callable[[Forgery], object]


def refuse(path: Path, store: Store, *words: str) -> BundleError:
    """Assert that a bundle is refused, with these words, and that nothing of it is in the store."""
    with pytest.raises(BundleError) as caught:
        open_bundle(path, store)
    error = caught.value
    for word in words:
        assert word in error.message, error.message
    assert path.name in error.message
    assert str(path) in error.where
    assert error.hint
    assert error.exit_code == 2
    assert not (store.root / "blobs").exists(), "nothing of it entered the store"
    assert not list((store.root / "scratch").glob("*")) if (store.root / "scratch").exists() else True
    return error


# --- a changed byte ---------------------------------------------------------------------------------------------------

ROLES = (
    "manifest", "lock", "recipe", "base lock", "record", "wheel", "deb", "data", "weights", "code", "report", "events",
    "metrics", "log", "metadata", "citation", "licence",
)  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_a_changed_byte_is_named(bundle: Path, tmp_path: Path, store: Store, role: str) -> None:
    path = Forgery.of(bundle).path(role)
    refuse(flipped(bundle, tmp_path / "changed.repro.tar", path), store, path, "has SHA-256", "the index says")


def test_a_changed_byte_of_an_image_is_named(experiment: Experiment, tmp_path: Path, store: Store) -> None:
    blob = b"a layer" * 1000
    forged = Forgery.of(experiment.pack(tmp_path / "whole.repro.tar").path)
    sha256 = hashlib.sha256(blob).hexdigest()
    forged.add(f"image/blobs/sha256/{sha256}", blob, "image")
    path = forged.write(tmp_path / "image.repro.tar")
    open_bundle(path, Store(tmp_path / "other"))
    refuse(flipped(path, tmp_path / "x.repro.tar", f"image/blobs/sha256/{sha256}"), store, "the image has SHA-256")


def test_a_changed_bundle_is_refused_also_where_it_is_known(bundle: Path, tmp_path: Path, store: Store) -> None:
    open_bundle(bundle, store)
    changed = flipped(bundle, tmp_path / "changed.repro.tar", Forgery.of(bundle).path("wheel"))
    with pytest.raises(BundleError, match="wheel"):
        open_bundle(changed, store)


# --- what stands where a member should --------------------------------------------------------------------------------


def kind(of: bytes, **fields: Any) -> Callable[[tarfile.TarInfo], object]:
    def make(info: tarfile.TarInfo) -> None:
        info.type = of
        for name, value in fields.items():
            setattr(info, name, value)

    return make


STRANGERS = {
    "a symbolic link": kind(tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": kind(tarfile.LNKTYPE, linkname="run/report.json"),
    "a character device": kind(tarfile.CHRTYPE, devmajor=1, devminor=3),
    "a block device": kind(tarfile.BLKTYPE, devmajor=8),
    "a named pipe": kind(tarfile.FIFOTYPE),
    "a folder": kind(tarfile.DIRTYPE),
    "climbs out": kind(tarfile.REGTYPE, name="../../out", size=3),
    "a path that climbs": kind(tarfile.REGTYPE, name="/etc/cron.d/out", size=3),
    "a GNU long name": kind(tarfile.REGTYPE, name="n" * 300, size=3),
    "of another name": kind(tarfile.REGTYPE, name="run/report.md", size=3),
}


@pytest.mark.parametrize("what", STRANGERS)
def test_a_stranger_in_place_of_a_member(bundle: Path, tmp_path: Path, store: Store, what: str) -> None:
    changed = with_member(bundle, tmp_path / "x.repro.tar", STRANGERS[what], at="run/report.json")
    refuse(changed, store, "run/report.json", what)
    # also where the file has the size that it should have
    data = changed.read_bytes()
    size = bundle.stat().st_size
    changed.write_bytes(data[:size] if len(data) >= size else data + bytes(size - len(data)))
    refuse(changed, store, "run/report.json", what)


@pytest.mark.parametrize("what", STRANGERS)
def test_a_stranger_behind_the_last_member(bundle: Path, tmp_path: Path, store: Store, what: str) -> None:
    changed = with_member(bundle, tmp_path / "x.repro.tar", STRANGERS[what])
    refuse(changed, store, "another member follows")


def test_extended_headers_say_nothing(bundle: Path, tmp_path: Path, store: Store) -> None:
    member = Forgery.of(bundle).members["run/report.md"]
    for records in (b"12 size=1\n", b"16 path=../out\n", b"30 GNU.sparse.map=0,1,2,3,4,5\n" * 9):
        pax = tar.header("PaxHeader", b"x", 0o644, len(records)) + records + tar.padding(len(records))
        plain = entry_bytes("run/report.md", member)
        changed = spliced(bundle, tmp_path / "x.repro.tar", "run/report.md", [pax, plain])
        refuse(changed, store, "run/report.md", "an extended header")


def test_a_header_of_another_owner_time_or_size(bundle: Path, tmp_path: Path, store: Store) -> None:
    path = Forgery.of(bundle).path("licence")
    for change in ({"uid": 1000}, {"mtime": 7}, {"mode": 0o4755}, {"uname": "root"}):
        fields = {"size": 25, "name": path, "mtime": tar.MTIME_S, **change}
        with tarfile.open(bundle) as archive:
            size = archive.getmember(path).size
        info = tarfile.TarInfo(path)
        for name, value in fields.items():
            setattr(info, name, value)
        info.size = size
        content = Forgery.of(bundle).members[path]
        entry = info.tobuf(tarfile.USTAR_FORMAT) + content + tar.padding(size)
        changed = spliced(bundle, tmp_path / "x.repro.tar", path, [entry])
        refuse(changed, store, path, "mode, owner or time")


def test_cut_off_and_trailing(bundle: Path, tmp_path: Path, store: Store) -> None:
    data = bundle.read_bytes()
    changed = tmp_path / "x.repro.tar"
    for size in (0, 1, 100, 511, 512, 1000, len(data) // 2, len(data) - 1):
        changed.write_bytes(data[:size])
        refuse(changed, store)
    changed.write_bytes(data + b"\0")
    refuse(changed, store, "1 bytes follow its end")
    changed.write_bytes(data + data)
    refuse(changed, store, "follow its end")


def test_bytes_in_the_padding(bundle: Path, tmp_path: Path, store: Store) -> None:
    data = bytearray(bundle.read_bytes())
    with tarfile.open(bundle) as archive:
        member = archive.getmember("LICENCE")
    data[member.offset_data + member.size] = 1
    changed = tmp_path / "x.repro.tar"
    changed.write_bytes(data)
    refuse(changed, store, "LICENCE", "bytes behind its end")


# --- an index that asks for what no honest one does -------------------------------------------------------------------

PATHS = {
    "absolute": ("/etc/passwd", "an absolute path"),
    "drive": ("C:/x", "an absolute path"),
    "parent": ("../out", "climbs out"),
    "parent inside": ("run/../../out", "climbs out"),
    "dot": ("run/./x", "a dot"),
    "empty part": ("run//x", "an empty part"),
    "trailing slash": ("run/", "an empty part"),
    "nothing": ("", "an empty part"),
    "control": ("run/logs/a\x1b[2J.log", "a control character"),
    "newline": ("run/logs/a\n.log", "a control character"),
    "nul": ("run/a\0b", "a control character"),
    "backslash": ("run\\..\\x", "a backslash"),
    "right to left": ("run/logs/\u202egol.log", "a control character"),
    "long": ("experiment/" + "n" * 201, "bytes"),
    "deep": ("experiment/" + "n/" * 600 + "n", "bytes"),
    "decomposed": ("experiment/u\u0308", "normal form"),
    "elsewhere": ("home/x", "no member of a bundle lies there"),
    "log elsewhere": ("run/logs/../x.log", "climbs out"),
    "other digest": ("blobs/" + "0" * 64, "its name is a digest"),
}


@pytest.mark.parametrize("what", PATHS)
def test_paths_that_no_bundle_has(bundle: Path, tmp_path: Path, store: Store, what: str) -> None:
    path, words = PATHS[what]
    forged = Forgery.of(bundle)
    forged.rename(forged.path("log"), path)
    refuse(forged.write(tmp_path / "x.repro.tar"), store, NAME, words)
    assert not (tmp_path / "out").exists()


COLLISIONS = {
    "case": (["experiment/A", "experiment/a"], "differ in case"),
    "case of a folder": (["experiment/Xy/a", "experiment/xy/b"], "differ in case"),
    "compatibility": (["experiment/\ufb01le", "experiment/file"], "differ in case or Unicode form"),
    "file and folder": (["experiment/a", "experiment/a/b"], "needs a folder there"),
}


@pytest.mark.parametrize("what", COLLISIONS)
def test_names_that_are_one_on_some_file_systems(bundle: Path, tmp_path: Path, store: Store, what: str) -> None:
    paths, words = COLLISIONS[what]
    forged = Forgery.of(bundle)
    for path in paths:
        forged.add(path, path.encode())
    refuse(forged.write(tmp_path / "x.repro.tar"), store, NAME, words)


def _twice(forged: Forgery) -> None:
    forged.index["files"].append(copy.deepcopy(forged.index["files"][-1]))
    forged.sort()


def _unsorted(forged: Forgery) -> None:
    forged.index["files"].reverse()


def _without_manifest(forged: Forgery) -> None:
    forged.index["files"] = [each for each in forged.index["files"] if each["role"] != "manifest"]


def _many(forged: Forgery) -> None:
    forged.index["files"] *= 50_001 // len(forged.index["files"]) + 1


INDEXES: dict[str, tuple[Change, str]] = {
    "twice": (_twice, "listed twice"),
    "unsorted": (_unsorted, "out of order"),
    "no manifest": (_without_manifest, "is not among its members"),
    "many": (_many, "50000 are allowed"),
    "other schema": (lambda forged: forged.index.update(schema=2), "schema"),
    "no files": (lambda forged: forged.index.pop("files"), "files"),
    "negative": (lambda forged: forged.index["files"][0].update(bytes=-1), "files[0].bytes"),
    "huge": (lambda forged: forged.index["files"][0].update(bytes=1 << 50), "files[0].bytes"),
    "text for a number": (lambda forged: forged.index["files"][0].update(bytes="1"), "files[0].bytes"),
    "a digest that is none": (lambda forged: forged.index["files"][0].update(sha256="../../x"), "files[0].sha256"),
    "unknown role": (lambda forged: forged.index["files"][0].update(role="hook"), "files[0].role"),
    "other experiment": (lambda forged: forged.index.update(experiment="another"), "another"),
}


@pytest.mark.parametrize("what", INDEXES)
def test_indexes_that_no_bundle_has(bundle: Path, tmp_path: Path, store: Store, what: str) -> None:
    change, words = INDEXES[what]
    forged = Forgery.of(bundle)
    change(forged)
    if "files" not in forged.index or "bytes" in words or what == "many":
        path = tmp_path / "x.repro.tar"
        path.write_bytes(entry_bytes(NAME, json.dumps(forged.index).encode()) + tar.END)
        refuse(path, store, NAME, words)
        return
    with pytest.raises(BundleError, match=NAME) as caught:
        open_bundle(forged.write(tmp_path / "x.repro.tar"), store)
    assert words in caught.value.message


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 200_000, b'{"schema": 1}', b'{"schema": NaN}', b"9" * 10_000],
)
def test_an_index_that_is_none(tmp_path: Path, store: Store, content: bytes) -> None:
    path = tmp_path / "x.repro.tar"
    path.write_bytes(entry_bytes(NAME, content) + tar.END)
    refuse(path, store, NAME)


def test_an_index_of_absurd_size_is_not_read(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.repro.tar"
    for size in (MAX_INDEX_BYTES + 1, 8**11 - 1):
        with path.open("wb") as file:
            file.write(tar.header(NAME, b"0", 0o644, size))
            file.truncate(size + 4096)  # sparse: it costs nothing here
        read: list[int] = []
        monkeypatch.setattr(reading, "_read", counting(reading._read, read))
        refuse(path, store, NAME, "at most")
        monkeypatch.undo()
        assert sum(read) <= 1024


def counting(real: Callable[[reading.Hashed, int], bytes], read: list[int]) -> Callable[[reading.Hashed, int], bytes]:
    def count(file: reading.Hashed, size: int) -> bytes:
        read.append(size)
        return real(file, size)

    return count


def test_a_bomb_is_known_by_its_index(bundle: Path, tmp_path: Path, store: Store) -> None:
    forged = Forgery.of(bundle)
    forged.entry(forged.path("wheel"))["bytes"] = 1 << 39
    refuse(forged.write(tmp_path / "x.repro.tar"), store, "of another name, size")


def test_no_room_is_said_before_anything_is_written(
    bundle: Path, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StoreFullError, match=r"needs .* MB"):
        open_bundle(bundle, store)
    with pytest.raises(StoreFullError, match=r"needs .* MB"):
        unpack(bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- forgeries that are consistent in themselves ----------------------------------------------------------------------


def _other_report(forged: Forgery) -> None:
    report = json.loads(forged.members["run/report.json"])
    report["checks"][0]["observed"] = "0.99"
    forged.change("run/report.json", json.dumps(report).encode())


def _other_verdict(forged: Forgery) -> None:
    report = json.loads(forged.members["run/report.json"])
    report.update(verdict="METRICS DIFFER", exit_code=1)
    forged.change("run/report.json", json.dumps(report).encode())


def _report_of_another(forged: Forgery) -> None:
    report = json.loads(forged.members["run/report.json"])
    report["run"]["id"] = "tiny-20200101T000000Z-0000"
    forged.change("run/report.json", json.dumps(report).encode())


def _other_job(forged: Forgery) -> None:
    record = json.loads(forged.members["run/record.json"])
    record["job"]["determinism"]["seed"] = 7
    forged.change("run/record.json", json.dumps(record).encode())


def _text(old: str, new: str, role: str = "manifest") -> Change:
    def change(forged: Forgery) -> None:
        path = forged.path(role)
        text = forged.members[path].decode()
        assert old in text
        forged.change(path, text.replace(old, new).encode())

    return change


FORGERIES: dict[str, tuple[Change, str, str]] = {
    "a swapped report": (_other_report, "run/report.json", "its check"),
    "another verdict": (_other_verdict, "run/report.json", "it says METRICS DIFFER"),
    "a report of another run": (_report_of_another, "run/report.json", "it is of the run"),
    "a report that is none": (lambda forged: forged.change("run/report.json", b"{}"), "run/report.json", "no report"),
    "a record that is none": (lambda forged: forged.change("run/record.json", b"[]"), "run/record.json", "record"),
    "a swapped record": (_other_job, "run/report.json", "determinism.seed is another"),
    "an edited manifest": (_text("seed = 1", "seed = 2"), "run/report.json", "determinism.seed is another"),
    "an edited lock": (_text("alpha", "omega", "lock"), "experiment/up/tiny.toml", "lock_sha256"),
    "a lock elsewhere": (_text("../images/lock.txt", "../../../../../../etc/hostname"), "tiny.toml", ""),
    "a manifest that is none": (_text("schema = 1", "schema = 9"), "experiment/up/tiny.toml", "no manifest"),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forgery_contradicts_itself(bundle: Path, tmp_path: Path, store: Store, what: str) -> None:
    change, member, words = FORGERIES[what]
    forged = Forgery.of(bundle)
    change(forged)
    with pytest.raises(BundleError) as caught:
        open_bundle(forged.write(tmp_path / "x.repro.tar"), store)
    assert member in caught.value.message
    assert words in caught.value.message


def test_a_manifest_that_leads_out_to_a_file_that_is_there(bundle: Path, tmp_path: Path, store: Store) -> None:
    forged = Forgery.of(bundle)
    lock = tmp_path / "lock.txt"
    lock.write_bytes(forged.members[forged.path("lock")])
    _text("../images/lock.txt", str(lock))(forged)
    with pytest.raises(BundleError, match="which is no member of the bundle"):
        open_bundle(forged.write(tmp_path / "x.repro.tar"), store)


def test_a_manifest_that_wants_something_built(bundle: Path, tmp_path: Path, store: Store) -> None:
    forged = Forgery.of(bundle)
    _text('recipe = "small"', 'dockerfile = "Dockerfile"')(forged)
    forged.add("experiment/up/Dockerfile", b"FROM scratch\nRUN id\n", "recipe")
    with pytest.raises(BundleError, match="build a Dockerfile"):
        open_bundle(forged.write(tmp_path / "x.repro.tar"), store)


# --- at random --------------------------------------------------------------------------------------------------------


def test_no_changed_bit_goes_unseen(bundle: Path, tmp_path: Path) -> None:
    """Whatever bit is changed, in headers as in content: refused, by BundleError and by no other error."""
    whole = bundle.read_bytes()
    path = tmp_path / "x.repro.tar"
    dice = random.Random(20260101)
    with tarfile.open(bundle) as archive:
        headers = [member.offset for member in archive]
    places = [dice.choice(headers) + dice.randrange(512) for _ in range(250)]
    places += [dice.randrange(len(whole)) for _ in range(150)]
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        with pytest.raises(BundleError):
            verify(path)


def test_pieces_at_random(bundle: Path, tmp_path: Path) -> None:
    whole = bundle.read_bytes()
    path = tmp_path / "x.repro.tar"
    dice = random.Random(7)
    for _ in range(150):
        data = bytearray(whole)
        start, length = dice.randrange(len(data)), dice.randrange(1, 2000)
        piece = dice.choice([b"", dice.randbytes(length), bytes(length), whole[:length]])
        data[start : start + length] = piece
        if bytes(data) == whole:
            continue
        path.write_bytes(data)
        with pytest.raises(BundleError):
            verify(path)


def test_numbers_of_an_index_at_random(bundle: Path, tmp_path: Path, store: Store) -> None:
    """Whatever an index says in place of a value: refused, or the bundle is one that says so."""
    dice = random.Random(11)
    strange: list[Any] = [None, True, -1, 1.5, 10**30, "", "../x", "\0", [], {}, [[]], {"a": 1}, "\ud800", 1 << 39]
    for number in range(120):
        forged = Forgery.of(bundle)
        index = forged.index
        target = dice.choice([index, dice.choice(index["files"]), index["manifest"]])
        target[dice.choice(sorted(target))] = dice.choice(strange)
        path = tmp_path / f"{number}.repro.tar"
        content = json.dumps(index).encode()
        rest = bundle.read_bytes()
        rest = rest[len(entry_bytes(NAME, _first(bundle))) :]
        path.write_bytes(entry_bytes(NAME, content) + rest)
        try:
            verify(path)
        except BundleError:
            continue
        assert target is not index["manifest"]


def _first(bundle: Path) -> bytes:
    with tarfile.open(bundle) as archive:
        stream = archive.extractfile(NAME)
        assert stream is not None
        return stream.read()


# --- what is no bundle ------------------------------------------------------------------------------------------------


def test_what_is_no_bundle(tmp_path: Path, store: Store, bundle: Path) -> None:
    other = tmp_path / "other.tar"
    with tarfile.open(other, "w") as archive:
        archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
    assert not looks_like_bundle(other)
    assert not looks_like_bundle(tmp_path)
    assert not looks_like_bundle(tmp_path / "nothing.repro.tar")
    renamed = tmp_path / "without an ending"
    shutil.copy(bundle, renamed)
    assert looks_like_bundle(renamed)
    refuse(other, store, "it is not the first member")
    with pytest.raises(BundleError, match="there is no bundle"):
        open_bundle(tmp_path / "nothing", store)


def test_a_link_in_the_place_of_a_folder_is_not_followed(bundle: Path, tmp_path: Path) -> None:
    os.symlink(tmp_path, tmp_path / "out")
    with pytest.raises(FileExistsError):
        unpack(bundle, tmp_path / "out")
    assert set(tree(tmp_path)) == set()
