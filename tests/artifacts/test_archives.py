"""Archives are read as archives: every format, and nothing that leads out, points out or unpacks without end."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from repro_tui.artifacts.archives import ArchiveError, MemberMissingError, extract_tree, open_deb, read_member
from repro_tui.artifacts.digests import TooLargeError

FILES = {"top/data/train.tab": b"a\tb\n" * 100, "top/run.sh": b"#!/bin/sh\n"}


def tar_bytes(files: dict[str, bytes], *, extra: Callable[[tarfile.TarFile], None] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755 if name.endswith(".sh") else 0o644
            tar.addfile(info, io.BytesIO(data))
        if extra is not None:
            extra(tar)
    return buffer.getvalue()


def zip_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def deb_bytes(data_name: str, data: bytes) -> bytes:
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": lzma.compress(tar_bytes({"./control": b"Package: x\n"})),
        data_name: data,
    }
    out = b"!<arch>\n"
    for name, content in parts.items():
        out += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
            + content
            + b"\n" * (len(content) % 2)
        )
    return out


ARCHIVES: dict[str, bytes] = {
    "zip": zip_bytes(FILES),
    "tar": tar_bytes(FILES),
    "tar.gz": gzip.compress(tar_bytes(FILES)),
    "tar.xz": lzma.compress(tar_bytes(FILES)),
    "deb xz": deb_bytes("data.tar.xz", lzma.compress(tar_bytes({f"./{name}": data for name, data in FILES.items()}))),
    "deb gz": deb_bytes("data.tar.gz", gzip.compress(tar_bytes(FILES))),
}


def read(path: Path, member: str, *, below_top: bool = False, limit_bytes: int | None = None) -> bytes:
    kept: list[bytes] = []
    read_member(path, member, lambda stream: kept.append(stream.read()), below_top=below_top, limit_bytes=limit_bytes)
    return kept[0]


@pytest.fixture(params=ARCHIVES)
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "archive"
    path.write_bytes(ARCHIVES[request.param])
    return path


def test_members_and_folders_come_out_as_they_went_in(archive: Path, tmp_path: Path) -> None:
    assert read(archive, "top/data/train.tab") == FILES["top/data/train.tab"]
    extract_tree(archive, "top", tmp_path / "out")
    assert (tmp_path / "out" / "data" / "train.tab").read_bytes() == FILES["top/data/train.tab"]
    assert os.access(tmp_path / "out" / "run.sh", os.X_OK)
    assert not os.access(tmp_path / "out" / "data" / "train.tab", os.X_OK)


def test_a_path_may_start_below_the_one_top_folder(archive: Path, tmp_path: Path) -> None:
    assert read(archive, "data/train.tab", below_top=True) == FILES["top/data/train.tab"]
    extract_tree(archive, "data", tmp_path / "out", below_top=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train.tab"]
    with pytest.raises(MemberMissingError):
        read(archive, "data/train.tab")


def test_a_missing_member_names_one_that_was_probably_meant(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(MemberMissingError, match=r"did you mean top/data/train\.tab"):
        read(archive, "data/train.tab")
    with pytest.raises(MemberMissingError):
        extract_tree(archive, "to", tmp_path / "out")


def test_nothing_is_read_past_the_limit(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(TooLargeError):
        read(archive, "top/data/train.tab", limit_bytes=399)
    with pytest.raises(TooLargeError):
        extract_tree(archive, "top", tmp_path / "out", limit_bytes=405)


@pytest.mark.parametrize("name", ["../escaped", "/etc/escaped", "top/../../escaped"])
@pytest.mark.parametrize("pack", [zip_bytes, tar_bytes])
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    path = tmp_path / "archive"
    path.write_bytes(pack({"top/fine": b"", name: b"x"}))
    with pytest.raises(ArchiveError, match="leads out"):
        extract_tree(path, None, tmp_path / "in" / "out")
    assert not (tmp_path / "in").exists()


def test_links_are_refused_in_a_tree_and_followed_inside_the_archive_only(tmp_path: Path) -> None:
    def add_links(tar: tarfile.TarFile) -> None:
        for name, target in (("top/alias", "run.sh"), ("top/out", "/etc/passwd")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)

    path = tmp_path / "archive"
    path.write_bytes(tar_bytes(FILES, extra=add_links))
    assert read(path, "top/alias") == FILES["top/run.sh"]
    with pytest.raises(ArchiveError, match="/etc/passwd"):
        read(path, "top/out")
    with pytest.raises(ArchiveError, match="is a link"):
        extract_tree(path, "top", tmp_path / "out")


@pytest.mark.parametrize(
    "data", [b"", b"plain text", b"PK\3\4 broken", b"!<arch>\nbroken", b"\x1f\x8b broken", b"\xfd7zXZ\0 broken"]
)
def test_what_is_no_archive_is_said_without_a_traceback(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "archive"
    path.write_bytes(data)
    with pytest.raises(ArchiveError):
        read(path, "x")


def test_a_cut_off_archive_is_said(archive: Path) -> None:
    data = archive.read_bytes()
    archive.write_bytes(data[: min(1200, len(data) // 2)])
    with pytest.raises(ArchiveError):
        read(archive, "top/run.sh")


def test_both_parts_of_a_deb_can_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(ARCHIVES["deb xz"])
    with open_deb(path, "control") as control:
        assert control.getnames() == ["./control"]
    with open_deb(path) as data:
        assert data.getnames() == ["./top/data/train.tab", "./top/run.sh"]


def test_a_deb_with_zstd_says_what_can_be_done(tmp_path: Path) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(deb_bytes("data.tar.zst", b"\x28\xb5\x2f\xfd" + b"\0" * 20))
    with pytest.raises(ArchiveError) as caught, open_deb(path):
        pass
    assert "zst" in caught.value.message
    assert "Debian" in caught.value.hint
