"""What a bundle's parts unpack to is bounded before it is unpacked: a small file that would fill a disk is refused."""

from __future__ import annotations

import io
import lzma
import zipfile
from pathlib import Path

import pytest

from repro_tui.artifacts.store import Store
from repro_tui.errors import ManifestError
from repro_tui.images import debs
from tests.images.image_parts import DEBS, WHEELS, Compiler, Parts, ar_of, tar_of, wheel_of


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """Return the small image's parts, to be written with a bomb among them."""
    return Parts(tmp_path)


def test_a_wheel_that_is_a_bomb(parts: Parts, store: Store) -> None:
    buffer = io.BytesIO(wheel_of("beta", {"beta.py": b"1"}))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("beta/zeros.bin", bytes(16 << 20))
    parts.write(DEBS, {**WHEELS, "beta": buffer.getvalue()})
    with pytest.raises(ManifestError, match="unpacks to 16777"):
        parts.assemble(store, compiler=Compiler())


def test_a_package_that_is_a_bomb(parts: Parts, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debs, "MAX_PART_BYTES", 1 << 20)
    bomb = ar_of(
        {
            "debian-binary": b"2.0\n",
            "control.tar.xz": lzma.compress(
                tar_of({"control": b"Package: two\nVersion: 1.0-1\nArchitecture: amd64\n"})
            ),
            "data.tar.xz": lzma.compress(tar_of({"zeros": bytes(2 << 20)})),
        }
    )
    parts.write({**DEBS, "two": bomb}, WHEELS)
    with pytest.raises(ManifestError, match="unpacks to more than 1 MiB"):
        parts.assemble(store, compiler=Compiler())
