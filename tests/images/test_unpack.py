"""Layers to a root: what lies over what, what nobody may read, and tars that are made to deceive."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro_tui.artifacts.store import Store, remove_tree
from repro_tui.errors import DriftError
from repro_tui.images import inventory
from repro_tui.images.assemble import verify_image
from repro_tui.images.model import Image
from repro_tui.images.pulled import pull
from repro_tui.images.unpack import MOUNT_POINTS, UID, read_layer
from repro_tui.verify.listing import unreadable_paths
from tests.images.registry_lab import digest, image_of, layer_of

PLATFORM = "linux/amd64"


@pytest.fixture
def unpacked(tmp_path: Path, new_store: Callable[[str], Store]) -> Callable[..., Image]:
    """Unpacks layers, without a registry: the image is served from a mirror folder."""

    def unpack(*layers: bytes, compress: str = "") -> Image:
        made = image_of(*layers, compress=compress)
        mirror = tmp_path / "mirror"
        mirror.mkdir(exist_ok=True)
        for name, data in {**made.blobs, made.digest: made.manifest}.items():
            (mirror / name[7:]).write_bytes(data)
        reference = f"gone.invalid/some/image@{made.digest}"
        return pull(reference, PLATFORM, store=new_store("store"), offline=True, mirrors=[mirror], processes=1)

    return unpack


def tree(image: Image) -> dict[str, str | None]:
    """Files with content, links with "-> target", folders with None; the folders for mounts are left out."""
    found: dict[str, str | None] = {}
    for path in sorted(image.root.rglob("*")):
        name = str(path.relative_to(image.root))
        if name not in MOUNT_POINTS:
            found[name] = (
                f"-> {os.readlink(path)}" if path.is_symlink() else None if path.is_dir() else path.read_text()
            )
    return found


def test_later_layers_hide_replace_and_add(unpacked: Callable[..., Image]) -> None:
    lower = layer_of(
        ("etc", None), ("etc/a", b"1"), ("etc/b", b"1"), ("etc/c", b"1"), ("opt/x/y", b"1"), ("opt/x/z", b"1"),
        ("lib", "usr/lib"), ("usr/lib/l", b"1"), ("var/d/f", b"1"), ("srv", b"file"),
    )  # fmt: skip
    upper = layer_of(
        ("etc/.wh.a", b""), ("etc/b", b"2"), ("etc/new", b"2"), ("opt/x/.wh..wh..opq", b""), ("opt/x/new", b"2"),
        ("lib/m", b"2"), ("var/.wh.d", b""), ("srv/inside", b"2"), ("./etc/dotted", b"2"), ("var/.wh..wh.plnk", b""),
        (".wh.not-there", b""), ("no/.wh.such", b""),
    )  # fmt: skip
    assert tree(unpacked(lower, upper)) == {
        "etc": None, "etc/b": "2", "etc/c": "1", "etc/dotted": "2", "etc/new": "2", "lib": None, "lib/m": "2", "opt": None,
        "opt/x": None, "opt/x/new": "2", "srv": None, "srv/inside": "2", "usr": None, "usr/lib": None, "usr/lib/l": "1",
        "var": None,
    }  # fmt: skip


def test_a_whiteout_hides_lower_layers_only(unpacked: Callable[..., Image]) -> None:
    lower = layer_of(("d/old", b"1"), ("f", b"1"))
    upper = layer_of(("d/new", b"2"), ("d/.wh..wh..opq", b""), ("f", b"2"), (".wh.f", b""))
    assert tree(unpacked(lower, upper)) == {"d": None, "d/new": "2", "f": "2"}


@pytest.mark.parametrize("compress", ["", "gzip", "zstd"])
def test_files_keep_content_modes_and_times(compress: str, unpacked: Callable[..., Image]) -> None:
    image = unpacked(
        layer_of(
            ("usr", None), ("usr/tool", b"run"), ("usr/su", b"root"), ("usr/alias", ("hard", "usr/su")), ("usr/n\u00e4me", b""),
            ("usr/link", "/usr/tool"), ("usr/out", "../../../../etc/passwd"), ("usr/null", (tarfile.CHRTYPE, "")),
            ("usr/pipe", (tarfile.FIFOTYPE, "")),
            modes={"usr/tool": 0o755, "usr/su": 0o6755, "usr": 0o3777},
        ),
        compress=compress,
    )  # fmt: skip
    status = (image.root / "usr/su").stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_nlink) == (0o755, os.getuid(), 2)
    assert (image.root / "usr/alias").samefile(image.root / "usr/su")
    assert (image.root / "usr").stat().st_mode & 0o7777 == 0o1777
    assert int((image.root / "usr/tool").stat().st_mtime) == 1_600_000_000  # byte code knows its source by it
    assert os.readlink(image.root / "usr/out") == "../../../../etc/passwd"
    assert not (image.root / "usr/null").exists()
    assert not (image.root / "usr/pipe").exists()
    items = {item.path: item for item in inventory.read(image.inventory)}
    assert items["usr/alias"].sha256 == items["usr/su"].sha256 == digest(b"root")[7:]
    assert items["usr/n\u00e4me"].size == 0
    assert all(items[name].type == "folder" for name in MOUNT_POINTS)
    assert verify_image(image) == []
    (image.root / "usr/tool").write_bytes(b"RUN")
    assert len(verify_image(image)) == 1


def test_what_an_engine_would_not_let_the_user_read_is_closed_here_too(unpacked: Callable[..., Image]) -> None:
    layer = layer_of(
        ("etc/shadow", b"secret"), ("root", None), ("root/.profile", b"x"), ("home/me/key", b"mine"), ("etc/open", b""),
        modes={"etc/shadow": 0o640, "root": 0o700, "home/me/key": 0o600, "etc/open": 0o604}, owners={"home/me/key": UID},
    )  # fmt: skip
    image = unpacked(layer)
    types = {item.path: item.type for item in inventory.read(image.inventory)}
    assert {name for name, kind in types.items() if kind == "unreadable"} == {"etc/shadow", "root", "root/.profile"}
    assert types["home/me/key"] == types["etc/open"] == "file"
    assert (image.root / "etc/shadow").stat().st_mode & 0o700 == 0
    assert (image.root / "root").stat().st_mode & 0o700 == 0
    assert verify_image(image) == []
    remove_tree(image.root)
    assert not image.root.exists()


def test_what_can_be_used_unread_is_told_from_what_is_closed(unpacked: Callable[..., Image]) -> None:
    layer = layer_of(
        ("bin/run", b"program"), ("opt/in", None), ("opt/in/library", b"x"), ("opt/in/secret", b"x"), ("srv", None),
        modes={"bin/run": 0o711, "opt/in": 0o711, "opt/in/secret": 0o600, "srv": 0o700},
    )  # fmt: skip
    assert unreadable_paths(unpacked(layer).inventory) == {
        "/bin/run": False, "/opt/in": False, "/opt/in/library": False, "/opt/in/secret": True, "/srv": True,
    }  # fmt: skip


HOSTILE: dict[str, list[tuple[str, Any]]] = {
    "absolute": [("/etc/passwd", b"x")],
    "upward": [("../../etc/passwd", b"x")],
    "upward inside": [("usr/../../etc/passwd", b"x")],
    "through a link": [("evil", "/etc"), ("evil/passwd", b"x")],
    "through a file": [("file", b""), ("file/below", b"x")],
    "hard link out": [("passwd", ("hard", "../../etc/passwd"))],
    "hard link absolute": [("passwd", ("hard", "/etc/passwd"))],
    "hard link to nothing": [("passwd", ("hard", "etc/passwd"))],
    "whiteout of everything": [("usr/.wh.", b"")],
    "whiteout upward": [("usr/.wh...", b"")],
    "a long name": [("n" * 256, b"")],
    "a long path": [("/".join(["d" * 200] * 20).lstrip("/"), b"")],
    "a link to mount on": [("out", "/etc")],
    "a file to mount on": [("proc", b"")],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tar_that_no_honest_image_has_is_refused(name: str, unpacked: Callable[..., Image], tmp_path: Path) -> None:
    with pytest.raises(DriftError):
        unpacked(layer_of(*HOSTILE[name]))
    images = tmp_path / "store" / "derived" / "images"
    assert list(images.iterdir()) == []
    assert list((tmp_path / "store" / "scratch").iterdir()) == []


def test_a_link_that_leads_out_is_kept_and_never_followed(unpacked: Callable[..., Image], tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    image = unpacked(layer_of(("door", str(outside))), layer_of(("door/file", b"inside")))
    assert tree(image) == {"door": None, "door/file": "inside"}
    assert list(outside.iterdir()) == []


def test_sizes_that_cannot_be_are_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("big")
    header.size = 1 << 40
    blob = tmp_path / "blob"
    blob.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    with pytest.raises(DriftError, match="honest"):
        read_layer(blob, digest(b""), tmp_path / "scratch", 1 << 40)
    pax = tarfile.TarInfo("PaxHeader")
    pax.type, pax.size = tarfile.XHDTYPE, 3 << 20  # would be read into memory whole
    blob.write_bytes(pax.tobuf(tarfile.GNU_FORMAT) + bytes(4 << 20))
    with pytest.raises(DriftError, match="a header of"):
        read_layer(blob, digest(b""), tmp_path / "scratch", 1 << 40)
    good = layer_of(("a", b"1"))
    blob.write_bytes(good[:512] + bytes(512) + b"this is no header" + bytes(2000))
    with pytest.raises(DriftError, match=r"no header|honest"):
        read_layer(blob, digest(b""), tmp_path / "scratch", 1 << 40)


def test_a_bomb_is_not_unpacked_to_its_end(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(gzip.compress(bytes(50 << 20)))
    with pytest.raises(DriftError, match="unpacks to more than 1048576 bytes"):
        read_layer(blob, digest(b""), tmp_path / "scratch", 1 << 20)
    assert (tmp_path / "scratch").stat().st_size < 80 << 20


@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_a_compressed_layer_that_ends_early_is_refused(compress: str, tmp_path: Path) -> None:
    layer = layer_of(("a", b"1" * 5000))
    made = image_of(layer, compress=compress)
    data = next(data for name, data in made.blobs.items() if data != made.config)
    blob = tmp_path / "blob"
    blob.write_bytes(data[: len(data) // 2])
    with pytest.raises(DriftError):
        read_layer(blob, digest(layer), tmp_path / "scratch", 1 << 40)


def test_an_empty_layer_is_one(unpacked: Callable[..., Image]) -> None:
    buffer = io.BytesIO()
    tarfile.open(fileobj=buffer, mode="w").close()
    assert tree(unpacked(layer_of(("a", b"1")), buffer.getvalue())) == {"a": "1"}
