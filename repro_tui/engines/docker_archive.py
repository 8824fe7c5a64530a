"""Files to and from containers, as tar streams: what is sent, and what may be taken from one that we do not trust."""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from repro_tui.engines.base import Mount

_CHUNK_BYTES = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many of the next bytes; b"" at the end."""


# --- out of this machine ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or link to send, at an absolute path of the container."""

    target: str
    source: Path
    status: os.stat_result


def entries(mount: Mount) -> Iterator[Entry]:
    """Yield what is in a mount, folders before what is in them; sockets, pipes and devices are left out."""
    source = mount.source.resolve()
    status = source.stat()
    yield Entry(mount.target, source, status)
    for folder, names, files in os.walk(source):
        names.sort()
        for name in sorted((*names, *files)):
            path = Path(folder, name)
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode):
                yield Entry(posixpath.join(mount.target, path.relative_to(source).as_posix()), path, status)


def pack(sent: Iterator[Entry], uid: int, gid: int, *, writable: bool) -> Iterator[bytes]:
    """Yield a tar of entries without its end; the user given owns what is `writable`, or the caller's own here.

    So who may read what is as it would be here: root's files are root's there, and modes are kept.
    """
    caller = os.geteuid()
    for entry in sent:
        mode = entry.status.st_mode
        info = tarfile.TarInfo(entry.target.lstrip("/"))
        if writable or (caller and entry.status.st_uid == caller):
            info.uid, info.gid = uid, gid
        info.mtime = int(entry.status.st_mtime)
        info.mode = stat.S_IMODE(mode) & 0o777
        if stat.S_ISDIR(mode):
            info.type, info.mode = tarfile.DIRTYPE, info.mode | 0o700
        elif stat.S_ISLNK(mode):
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(entry.source)
        else:
            info.size = entry.status.st_size
        yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if info.size:
            yield from _content(entry.source, info.size)


def _content(path: Path, size: int) -> Iterator[bytes]:
    left = size
    with path.open("rb", buffering=0) as file:
        while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk
    if left:
        raise OSError(f"{path} became shorter while it was sent")
    yield bytes(-size % tarfile.BLOCKSIZE)


# --- into this machine ------------------------------------------------------------------------------------------------


@dataclass
class Unpacked:
    """What came: how many bytes, and what was left out because it leads out of the folder or is no plain file."""

    size_bytes: int = 0
    left_out: list[str] = field(default_factory=list)


def unpack(stream: IO[bytes], folder: Path) -> Unpacked:
    """Write the content of a tar's one top folder into `folder`; files that are there are overwritten in place.

    Whatever the tar says, nothing is written outside `folder`, through a link, or as anything but a plain file, a
    folder or a link that stays inside; modes lose set-user-ID and the like. Raises OSError and tarfile.TarError.
    """
    done = Unpacked()
    links: list[tuple[str, str]] = []
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            name = _inside(member.name)
            if name == ".":
                continue
            if name is None:
                done.left_out.append(member.name)
            elif member.isdir():
                _make_folder(folder, name)
                os.chmod(folder / name, member.mode & 0o777 | 0o700)
            elif member.issym():
                links.append((name, member.linkname))
            elif member.islnk():
                same = _inside(member.linkname)
                if same is None or not _is_file(folder / same):
                    done.left_out.append(member.name)
                    continue
                _make_folder(folder, posixpath.dirname(name))
                _remove(folder / name)
                os.link(folder / same, folder / name, follow_symlinks=False)
            elif member.isreg() and not member.issparse() and (content := tar.extractfile(member)) is not None:
                _make_folder(folder, posixpath.dirname(name))
                done.size_bytes += overwrite(content, folder / name)
                os.chmod(folder / name, member.mode & 0o777 | 0o600)
            else:
                done.left_out.append(member.name)
    made = []
    for name, target in links:  # last, so that nothing was written through one
        _make_folder(folder, posixpath.dirname(name))
        _remove(folder / name)
        os.symlink(target, folder / name)
        made.append(name)
    top = os.path.realpath(folder)
    for name in made:  # all of them are there: where one leads is where it will lead
        end = os.path.realpath(folder / name)
        if end != top and not end.startswith(top + "/"):
            _remove(folder / name)
            done.left_out.append(name)
    return done


def overwrite(content: Readable, path: Path) -> int:
    """Give a file this content and return its size; what is already so is not written, so a reader can follow it."""
    at = 0
    if not _is_file(path):
        _remove(path)
    descriptor = os.open(path, _KEPT if _is_file(path) else _NEW | os.O_RDWR, 0o644)
    try:
        same = True
        while chunk := content.read(_CHUNK_BYTES):
            if same and (here := os.pread(descriptor, len(chunk), at)) != chunk:
                same = False
                if not chunk.startswith(here):
                    os.ftruncate(descriptor, at)  # not an append: a reader sees the file become shorter
            if not same:
                view = memoryview(chunk)
                written = 0
                while written < len(chunk):
                    written += os.pwrite(descriptor, view[written:], at + written)
            at += len(chunk)
        if os.fstat(descriptor).st_size != at:
            os.ftruncate(descriptor, at)
    finally:
        os.close(descriptor)
    return at


def _inside(name: str) -> str | None:
    """Return a member's path below the tar's top folder, "." for that itself, None for one that leads out."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\0" in name:
        return None
    return "/".join(part for part in parts[1:] if part not in {"", "."}) or "."


def _make_folder(folder: Path, name: str) -> None:
    """Make a folder and those above it; what is no folder gives way."""
    path = folder
    for part in name.split("/") if name not in {"", "."} else ():
        path = path / part
        if path.is_symlink() or not path.is_dir():
            _remove(path)
            path.mkdir()


def _is_file(path: Path) -> bool:
    with suppress(OSError):
        return stat.S_ISREG(path.lstat().st_mode)
    return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()  # raises where it holds something: two members of one name
    else:
        path.unlink(missing_ok=True)
