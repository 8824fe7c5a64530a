"""From the layers of any image to one folder, as an ordinary user and whatever the layers say.

Nothing is extracted onto anything: each layer is read into a list, the lists are laid on each other in memory, with
whiteouts, and what is visible in the end is written once, into a new folder, from where it lies in the tars. So no
path can lead through a link, or out. Reading layers and writing files is done in worker processes.

What the user of a container (uid and gid 1000) may not read in an engine that keeps owners, the owner of this folder
may not read either; setuid and setgid are dropped, devices are left out.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from repro_tui.errors import DriftError
from repro_tui.images.compression import compression, uncompressed

MOUNT_POINTS = ("code", "dev", "inputs", "job", "out", "proc", "run", "sys", "tmp")
"""Folders that every engine mounts on."""

UID = GID = 1000
"""Who a container runs as."""

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_CHUNK_BYTES = 8 << 20
_MAX_HEADER_BYTES = 1 << 20
_MAX_RATIO = 1100  # what deflate can do at best
_SLACK_BYTES = 64 << 20
_MAX_PATH_BYTES, _MAX_NAME_BYTES = 3000, 255
_LATEST_S = 1 << 34
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class Entry(NamedTuple):
    """One path of a layer: `kind` is "file", "folder", "link", "whiteout", "opaque" or "device"."""

    path: str
    kind: str
    mode: int = 0o755
    readable: bool = True
    mtime_s: int = 0
    size: int = 0
    offset: int = 0
    """Where the content begins in the tar: the identity of a file and its hard links."""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """A layer that was read: its tar, uncompressed, and what is in it."""

    tar: Path
    entries: list[Entry]


class Visible(NamedTuple):
    """One path of the image, and the number of the layer that it comes from."""

    entry: Entry
    layer: int


# --- one layer --------------------------------------------------------------------------------------------------------


def read_layer(blob: Path, diff_id: str, scratch: Path, free_bytes: int) -> Content:
    """Read a layer; a compressed one is written to `scratch` and must have the diff_id then.

    Raises DriftError for another diff_id, and for a tar that no honest image has.
    """
    tar = blob
    if compression(blob):
        limit = min(blob.stat().st_size * _MAX_RATIO + _SLACK_BYTES, free_bytes)
        digest = hashlib.sha256()
        size = 0
        with scratch.open("wb", buffering=0) as file:
            for chunk in uncompressed(blob):
                size += len(chunk)
                if size > limit:
                    _refuse(blob, f"it unpacks to more than {limit} bytes")
                digest.update(chunk)
                _write(file.fileno(), memoryview(chunk))
        if "sha256:" + digest.hexdigest() != diff_id:
            raise DriftError(
                f"a layer unpacks to sha256:{digest.hexdigest()}, the image's configuration says {diff_id}",
                component="image",
                where=blob.name,
                hint="the image is damaged, or made to deceive: whoever made it must make it anew",
            )
        tar = scratch
    try:
        return Content(tar, list(_entries(tar, blob)))
    except (tarfile.TarError, ValueError, EOFError, RecursionError) as error:
        _refuse(blob, str(error))


class _Headers:
    """A tar as tarfile may read it: content is skipped by seeking, and no header is as large as memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _entries(tar: Path, blob: Path) -> Iterator[Entry]:
    end = tar.stat().st_size
    if not end:
        return
    with tar.open("rb", buffering=1 << 16) as file:
        headers: Any = _Headers(file)
        archive: Any = tarfile.open(fileobj=headers, mode="r:", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
        known: dict[str, Entry] = {}
        while (member := archive.next()) is not None:
            archive.members.clear()  # it would keep them all
            path = _path(member.name, blob)
            if not path:
                continue
            *folders, name = path.split("/")
            if name == _OPAQUE:
                yield Entry("/".join(folders), "opaque")
            elif name.startswith(_WHITEOUT + _WHITEOUT):
                continue  # bookkeeping of an old storage driver
            elif name.startswith(_WHITEOUT):
                hidden = name.removeprefix(_WHITEOUT)
                if hidden in {"", ".", ".."}:
                    _refuse(blob, f"{_shown(path)!r} hides nothing that could be")
                yield Entry("/".join((*folders, hidden)), "whiteout")
            elif member.islnk():
                target = _path(member.linkname, blob)
                if target not in known:
                    _refuse(blob, f"the hard link /{_shown(path)} is to no file of its layer")
                known[path] = known[target]._replace(path=path)
                yield known[path]
            else:
                entry = _entry(member, path, blob, end)
                if entry.kind in {"file", "link"}:
                    known[path] = entry
                yield entry
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            _refuse(blob, f"what is at byte {archive.offset} is no header")


def _entry(member: tarfile.TarInfo, path: str, blob: Path, end: int) -> Entry:
    mtime_s = int(member.mtime) if 0 <= member.mtime < _LATEST_S else 0
    if member.issym():
        return Entry(path, "link", 0o777, mtime_s=mtime_s, target=member.linkname)
    mode, readable = _access(member)
    if member.isdir():
        return Entry(path, "folder", mode, readable, mtime_s)
    if not member.isreg():
        return Entry(path, "device")
    if member.issparse():
        _refuse(blob, f"/{_shown(path)} is stored as a sparse file, which is not read")
    if member.size < 0 or member.offset_data + member.size > end:
        _refuse(blob, f"/{_shown(path)} is larger than what it lies in")
    return Entry(path, "file", mode, readable, mtime_s, member.size, member.offset_data)


def _access(member: tarfile.TarInfo) -> tuple[int, bool]:
    """Return the mode on disk, and whether the user of a container may read it.

    The folder's owner stands for that user, so the owner's bits are what the user has by the image's own owners.
    """
    mode = member.mode & 0o1777
    bits = mode >> 6 if member.uid == UID else mode >> 3 if member.gid == GID else mode
    needed = 0o5 if member.isdir() else 0o4
    if bits & needed == needed:
        return mode | needed << 6, True
    return mode & ~0o700 | (bits & 0o7) << 6 & ~0o400, False


def _path(name: str, blob: Path) -> str:
    """Return a path relative to the root, without dots; raises DriftError for one that leads out."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts or "\0" in name:
        _refuse(blob, f"{_shown(name)!r} is no path inside an image")
    path = "/".join(parts)
    encoded = os.fsencode(path)
    if len(encoded) > _MAX_PATH_BYTES or any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in parts):
        _refuse(blob, f"a path of {len(encoded)} bytes, {_shown(name[:80])!r}…")
    return path


def _shown(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="replace")


def _refuse(blob: Path, words: str) -> NoReturn:
    raise DriftError(
        f"a layer is not what an honest image has: {words}", component="image", where=f"sha256:{blob.name}",
        hint="do not use this image",
    )  # fmt: skip


# --- all layers -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Node:
    """A path in the tree that the layers make together."""

    visible: Visible
    children: dict[str, _Node] = field(default_factory=dict)


def merge(layers: Iterable[Sequence[Entry]]) -> list[Visible]:
    """Lay layers on each other, lowest first, as an overlay does; return what is visible, sorted by path.

    A path whose parents are not there, or are links or files of a lower layer, gets folders; one below a link or a file
    of its own layer is refused. The folders that engines mount on are added. Raises DriftError.
    """
    top = _Node(Visible(Entry("", "folder"), -1))
    for number, entries in enumerate(layers):
        for entry in entries:
            if entry.kind in {"whiteout", "opaque"}:
                _remove(top, entry)
        for entry in entries:
            if entry.kind not in {"whiteout", "opaque"}:
                _put(top, entry, number)
    for name in MOUNT_POINTS:
        node = top.children.setdefault(name, _Node(Visible(Entry(name, "folder"), -1)))
        if node.visible.entry.kind != "folder":
            raise DriftError(
                f"/{name} is a {node.visible.entry.kind} in the image, and a folder is mounted there",
                component="image",
                hint="this image cannot be run here",
            )
    return sorted(_walk(top), key=lambda each: os.fsencode(each.entry.path))


def _walk(top: _Node) -> Iterator[Visible]:
    """Yield what is in the tree; what lies in a folder that may not be read is not readable."""
    pending = [(node, True) for node in top.children.values()]
    while pending:
        node, reached = pending.pop()
        entry = node.visible.entry
        readable = reached and entry.readable
        yield node.visible._replace(entry=entry._replace(readable=readable))
        pending.extend((child, readable) for child in node.children.values())


def _remove(top: _Node, entry: Entry) -> None:
    """Take away what lower layers have at a path, or in a folder."""
    node: _Node | None = top
    *parents, name = entry.path.split("/") if entry.path else [""]
    for part in parents:
        node = node.children.get(part) if node is not None else None
    if node is None:
        return
    if entry.kind == "whiteout":
        node.children.pop(name, None)
    elif (folder := node.children.get(name) if name else top) is not None:
        folder.children.clear()


def _put(top: _Node, entry: Entry, layer: int) -> None:
    node = top
    *parents, name = entry.path.split("/")
    for depth, part in enumerate(parents, 1):
        child = node.children.get(part)
        if child is None or child.visible.entry.kind != "folder":
            path = "/".join(parents[:depth])
            if child is not None and child.visible.layer == layer:
                raise DriftError(
                    f"a layer puts /{_shown(entry.path)} below /{_shown(path)}, "
                    f"which is a {child.visible.entry.kind} in the same layer",
                    component="image",
                    hint="do not use this image",
                )
            child = node.children[part] = _Node(Visible(Entry(path, "folder"), layer))
        node = child
    before = node.children.get(name)
    if entry.kind == "device":
        node.children.pop(name, None)
    elif before is not None and entry.kind == before.visible.entry.kind == "folder":
        before.visible = Visible(entry, layer)
    else:
        node.children[name] = _Node(Visible(entry, layer))


# --- writing ----------------------------------------------------------------------------------------------------------


def host_path(root: Path, path: str) -> bytes:
    """Return where a path of the image lies."""
    return os.fsencode(root) + b"/" + path.encode(errors="surrogateescape")


def make_folders(root: Path, visible: Sequence[Visible]) -> None:
    """Create folders, open to nobody else yet, and links; parents come first, since paths are sorted."""
    for entry, _ in visible:
        path = host_path(root, entry.path)
        if entry.kind == "folder":
            os.mkdir(path, 0o700)
        elif entry.kind == "link":
            os.symlink(entry.target.encode(errors="surrogateescape"), path)
            os.utime(path, (entry.mtime_s, entry.mtime_s), follow_symlinks=False)


def write_files(root: Path, tar: Path, entries: Sequence[Entry]) -> list[str]:
    """Write some files of a layer; return their SHA-256s in hex."""
    digests: list[str] = []
    with (
        tar.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,  # released first, also on a full disk: else closing the map raises instead
    ):
        for entry in entries:
            digest = hashlib.sha256()
            descriptor = os.open(host_path(root, entry.path), _NEW, 0o600)
            try:
                for position in range(entry.offset, entry.offset + entry.size, _CHUNK_BYTES):
                    with view[position : min(position + _CHUNK_BYTES, entry.offset + entry.size)] as chunk:
                        digest.update(chunk)
                        _write(descriptor, chunk)
                os.fchmod(descriptor, entry.mode)  # whatever the umask is
                os.utime(descriptor, (entry.mtime_s, entry.mtime_s))
            finally:
                os.close(descriptor)
            digests.append(digest.hexdigest())
    return digests


def finish_folders(root: Path, visible: Sequence[Visible]) -> None:
    """Give the folders their modes and times, the deepest first."""
    for entry, _ in reversed(visible):
        if entry.kind == "folder":
            path = host_path(root, entry.path)
            os.utime(path, (entry.mtime_s, entry.mtime_s))
            os.chmod(path, entry.mode)


def _write(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
