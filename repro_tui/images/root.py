"""The image's content as a folder, made from the layers: what the embedded engine enters.

Runs in worker processes. The tree's owner is whoever runs this; the sandbox shows it as its own user.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from repro_tui.images.inventory import Item
from repro_tui.images.layers import MadeLayer
from repro_tui.images.tar import MTIME_S

_CHUNK_BYTES = 8 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_TIMES_NS = (MTIME_S * 10**9, MTIME_S * 10**9)


def host_path(root: Path, item: Item) -> bytes:
    """Return where an item lies: as bytes, because names in an image are UTF-8 whatever the host's locale says."""
    return os.fsencode(root) + b"/" + item.path.encode()


def parts(items: Sequence[Item], count: int) -> Iterator[list[Item]]:
    """Split a layer's files into at most `count` runs of about equal work (bytes, and a price a file)."""
    files = [item for item in items if item.type == "file"]
    costs = [item.size + 50_000 for item in files]
    share = sum(costs) / count
    part: list[Item] = []
    load = 0
    for item, cost in zip(files, costs, strict=True):
        part.append(item)
        load += cost
        if load >= share:
            yield part
            part, load = [], 0
    if part:
        yield part


def make_folders(root: Path, items: Iterable[Item]) -> None:
    """Create the folders and links among the items, which are sorted by path: parents come first."""
    for item in items:
        path = host_path(root, item)
        if item.type == "folder":
            os.mkdir(path)
            os.chmod(path, item.mode)
        elif item.type == "link":
            os.symlink(item.target.encode(), path)


def write_files(root: Path, layer: MadeLayer, items: Sequence[Item]) -> None:
    """Write some files of a layer."""
    with (
        layer.tar.open("rb") as tar,
        mmap.mmap(tar.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,  # released first, also on a full disk: else closing the map raises instead
    ):
        for item in items:
            descriptor = os.open(host_path(root, item), _NEW, 0o600)
            try:
                position, end = item.offset, item.offset + item.size
                while position < end:
                    position += os.write(descriptor, view[position : min(end, position + _CHUNK_BYTES)])
                os.fchmod(descriptor, item.mode)  # whatever the umask is
                os.utime(descriptor, ns=_TIMES_NS)
            finally:
                os.close(descriptor)


def check_layer(layer: MadeLayer) -> str:
    """Return the SHA-256 of a layer's tar as it is now."""
    digest = hashlib.sha256()
    with layer.tar.open("rb", buffering=0) as tar:
        while chunk := tar.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
