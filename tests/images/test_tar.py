"""The tar writer against the standard library's reader, and the stream for `docker load`."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro_tui.artifacts.store import Store
from repro_tui.images import tar
from repro_tui.images.archive import docker_archive
from repro_tui.images.tar import TarWriter
from tests.images.image_parts import Parts, sha256

names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=130)
paths = st.lists(names.filter(lambda name: name not in {".", ".."}), min_size=1, max_size=4).map("/".join)


@given(paths, st.binary(max_size=2000), paths)
def test_any_path_and_content_come_back(path: str, data: bytes, target: str) -> None:
    archive = (
        tar.header(path, b"0", 0o755, len(data)) + data + tar.padding(len(data))
        + tar.header(path + "x", b"2", 0o777, 0, target) + tar.header(path + "y/", b"5", 0o1777, 0) + tar.END
    )  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as reader:
        file, link, folder = reader.getmembers()
        content = reader.extractfile(file)
        assert content is not None
        assert (file.name, file.mode, content.read()) == (path, 0o755, data)
        assert (link.name, link.issym(), link.linkname) == (path + "x", True, target)
        assert (folder.name, folder.isdir(), folder.mode) == (path + "y", True, 0o1777)


def test_sizes_beyond_the_octal_field() -> None:
    info = tarfile.TarInfo.frombuf(tar.header("big", b"0", 0o644, 8**11)[1024:1536], "utf-8", "strict")
    assert info.name == "big"
    assert b"size=8589934592\n" in tar.header("big", b"0", 0o644, 8**11)


def test_content_of_another_length_is_refused(tmp_path: Path) -> None:
    with TarWriter(tmp_path / "x.tar") as writer, pytest.raises(ValueError, match="3 were announced"):
        writer.file("a", 0o644, 3, [b"four"])


def test_docker_archive_has_the_config_the_image_is_known_by(parts: Parts, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    image = parts.assemble(store)
    stream = io.BytesIO(b"".join(docker_archive(image, ("small:latest",))))
    with tarfile.open(fileobj=stream) as archive:

        def read(name: str) -> bytes:
            file = archive.extractfile(name)
            assert file is not None
            return file.read()

        [entry] = json.loads(read("manifest.json"))
        assert entry["RepoTags"] == ["small:latest"]
        config = read(entry["Config"])
        assert "sha256:" + sha256(config) == image.config_digest
        diff_ids = ["sha256:" + sha256(read(name)) for name in entry["Layers"]]
        assert diff_ids == json.loads(config)["rootfs"]["diff_ids"] == list(image.diff_ids)
    store.close()
