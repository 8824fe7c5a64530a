"""Layers: which wheel goes into which, and the writing of one layer with the list of what it holds.

A layer is an uncompressed tar: its digest is its diff_id, and no compressor, whose output differs between versions of
zlib, has a say in it. The functions named `make_…` run in worker processes, each writes one folder:

    layer.tar     the layer
    files.jsonl   what is in it (inventory.py), with the offset of every file's content
    layer.json    {"sha256": …, "size_bytes": …}
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from repro_tui.artifacts.packages import WheelTarget
from repro_tui.images import inventory
from repro_tui.images.base import base_members
from repro_tui.images.debs import LockedDeb
from repro_tui.images.inventory import Item
from repro_tui.images.recipe import BaseRules, LayerRules
from repro_tui.images.tar import TarWriter
from repro_tui.images.wheels import OpenWheel, Planned, WheelFile

MAX_OWN_LAYERS = 40
"""Each may bring a layer of byte code; with the base and 32 buckets this stays below the 125 that engines can stack."""


@dataclass(frozen=True, slots=True)
class Group:
    """Wheels that share a layer, sorted by name; `title` says which layer it is."""

    title: str
    wheels: tuple[WheelFile, ...]


def group_wheels(wheels: Sequence[WheelFile], rules: LayerRules) -> list[Group]:
    """Return the groups in layer order: large wheels by name, then the buckets.

    Where a wheel goes depends on its own size and name only, so changing one package changes one layer.
    """
    large = [wheel for wheel in wheels if wheel.path.stat().st_size >= rules.own_layer_bytes]
    large.sort(key=lambda wheel: (-wheel.path.stat().st_size, wheel.name))
    own = sorted(large[:MAX_OWN_LAYERS], key=lambda wheel: wheel.name)
    names = {wheel.name for wheel in own}
    buckets: dict[int, list[WheelFile]] = {}
    for wheel in sorted(wheels, key=lambda wheel: wheel.name):
        if wheel.name not in names:
            number = hashlib.sha256(wheel.name.encode()).digest()[0] % rules.buckets
            buckets.setdefault(number, []).append(wheel)
    groups = [Group(wheel.label, (wheel,)) for wheel in own]
    return groups + [Group(f"small packages {number}", tuple(buckets[number])) for number in sorted(buckets)]


class LayerWriter:
    """Writes a layer's folder; entries must come sorted by path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tar = TarWriter(folder / "layer.tar")
        self._items: list[Item] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._tar.__exit__(*exception)

    def folder(self, path: str, mode: int, owner: str) -> None:
        """Add a folder."""
        self._tar.folder(path, mode)
        self._items.append(Item(path, "folder", mode, owner))

    def link(self, path: str, target: str, owner: str) -> None:
        """Add a symbolic link."""
        self._tar.link(path, target)
        self._items.append(Item(path, "link", 0o777, owner, target=target))

    def file(self, path: str, mode: int, size: int, chunks: Iterable[bytes], *, owner: str, sha256: str = "") -> None:
        """Add a file; its digest is taken here unless whoever yields the chunks checks them against `sha256`."""
        if sha256:
            offset = self._tar.file(path, mode, size, chunks)
            self._items.append(Item(path, "file", mode, owner, size=size, sha256=sha256, offset=offset))
            return
        digest = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            for chunk in chunks:
                digest.update(chunk)
                yield chunk

        offset = self._tar.file(path, mode, size, hashed())
        self._items.append(Item(path, "file", mode, owner, size=size, sha256=digest.hexdigest(), offset=offset))

    def finish(self) -> None:
        """Write the end, and the two files beside the tar."""
        sha256 = self._tar.finish()
        inventory.write(self._folder / "files.jsonl", self._items, with_offset=True)
        body = {"sha256": sha256, "size_bytes": self._tar.size_bytes}
        (self._folder / "layer.json").write_text(json.dumps(body) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class MadeLayer:
    """A layer's folder that was read back."""

    folder: Path
    sha256: str
    size_bytes: int

    @property
    def tar(self) -> Path:
        """The layer itself."""
        return self.folder / "layer.tar"

    def items(self) -> Iterator[Item]:
        """Return what is in it."""
        return inventory.read(self.folder / "files.jsonl")


def open_layer(folder: Path) -> MadeLayer:
    """Read a layer's folder; raises OSError, ValueError or KeyError where it is not whole."""
    body: dict[str, Any] = json.loads((folder / "layer.json").read_text(encoding="utf-8"))
    layer = MadeLayer(folder, body["sha256"], body["size_bytes"])
    if layer.tar.stat().st_size != layer.size_bytes:
        raise ValueError(f"{layer.tar} is not {layer.size_bytes} bytes long")
    return layer


# --- work for processes -----------------------------------------------------------------------------------------------


def make_base_layer(
    folder: Path, debs: Sequence[tuple[LockedDeb, Path]], rules: BaseRules, folders: Sequence[str]
) -> None:
    """Write the base layer."""
    members = base_members([(deb, path.read_bytes()) for deb, path in debs], rules, folders)
    with LayerWriter(folder) as writer:
        for owned in members:
            member = owned.member
            if member.type == "folder":
                writer.folder(member.path, member.mode, owned.owner)
            elif member.type == "link":
                writer.link(member.path, member.target, owned.owner)
            else:
                writer.file(member.path, member.mode, len(member.data), [member.data], owner=owned.owner)
        writer.finish()


def make_wheel_layer(folder: Path, wheels: Sequence[WheelFile], site_packages: str, target: WheelTarget) -> None:
    """Write the layer of some wheels; of two that install the same path, the later by name is kept."""
    opened = [OpenWheel(wheel, site_packages=site_packages, target=target) for wheel in wheels]
    files: dict[str, tuple[OpenWheel, Planned]] = {}
    for wheel in opened:
        files.update({planned.path: (wheel, planned) for planned in wheel.files})
    given = _ancestors([site_packages, "usr/local/bin"])
    folders = _ancestors([posixpath.dirname(path) for path in files]) - given
    owners = dict.fromkeys(folders, "")
    for path, (wheel, _) in files.items():
        parent = posixpath.dirname(path)
        while parent in owners and not owners[parent]:
            owners[parent] = wheel.wheel.label
            parent = posixpath.dirname(parent)
    with LayerWriter(folder) as writer:
        for path in sorted([*folders, *files], key=str.encode):
            if path in owners:
                writer.folder(path, 0o755, owners[path])
            else:
                wheel, planned = files[path]
                writer.file(
                    path,
                    planned.mode,
                    planned.size,
                    wheel.content(planned),
                    owner=wheel.wheel.label,
                    sha256=planned.sha256,
                )
        writer.finish()
    for wheel in opened:
        wheel.close()


def _ancestors(paths: Iterable[str]) -> set[str]:
    """Return the folders given and all above them, but the root."""
    found: set[str] = set()
    for path in paths:
        folder = path
        while folder and folder not in found:
            found.add(folder)
            folder = posixpath.dirname(folder)
    return found
