"""What is in a layer and in an image, file by file.

One JSON object a line, sorted by path: `path` (absolute in the image), `type` ("file", "folder", "link"), `mode`
(octal text), `size` and `sha256` of a file, `target` of a link, `owner`: the package and version it came from, or
"image" for what the assembler itself writes. A layer's own list also has `offset`: where the content begins in the tar.
A pulled image may have files and folders that the user of a container may not read: their type is "unreadable", and
the owner's bits of their mode are what that user may do all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """One path of an image; `path` is relative to the root, `offset` is where its content begins in the layer's tar."""

    path: str
    type: str
    mode: int
    owner: str
    size: int = 0
    sha256: str = ""
    target: str = ""
    offset: int = 0

    def to_line(self, *, with_offset: bool) -> str:
        """Return the item as one JSON line with its newline."""
        body: dict[str, Any] = {"path": "/" + self.path, "type": self.type, "mode": f"{self.mode:04o}"}
        if self.type == "file":
            body |= {"size": self.size, "sha256": self.sha256}
        elif self.type == "link":
            body["target"] = self.target
        body["owner"] = self.owner
        if with_offset and self.type == "file":
            body["offset"] = self.offset
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")) + "\n"


def from_line(line: str) -> Item:
    """Parse one line; raises ValueError or KeyError for anything else."""
    body = json.loads(line)
    return Item(
        path=body["path"][1:], type=body["type"], mode=int(body["mode"], 8), owner=body["owner"],
        size=body.get("size", 0), sha256=body.get("sha256", ""), target=body.get("target", ""),
        offset=body.get("offset", 0),
    )  # fmt: skip


def read(path: Path) -> Iterator[Item]:
    """Read a list written by `write`."""
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        yield from map(from_line, lines)


def write(path: Path, items: Iterable[Item], *, with_offset: bool = False) -> None:
    """Write items, in the order given."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        file.writelines(item.to_line(with_offset=with_offset) for item in items)


def merge(layers: Iterable[Iterable[Item]]) -> list[Item]:
    """Return what is visible when the layers lie on each other, lowest first: the topmost item of each path, sorted."""
    visible: dict[str, Item] = {}
    for layer in layers:
        for item in layer:
            visible[item.path] = item
    return [visible[path] for path in sorted(visible, key=str.encode)]
