"""Reading wheels, source distributions, npm tarballs and Debian packages as the archives they are.

Nothing in them is ever imported or run, nothing is written outside the folder given, and nothing is read past a
limit: the digest says that an archive is the pinned one, not that it is a good one.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Literal, cast

from repro_tui.artifacts.digests import TooLargeError, copy_hashed
from repro_tui.errors import InfrastructureError

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER_BYTES = 60


class ArchiveError(InfrastructureError):
    """A file is no archive that can be read, or holds something that may not be used."""


class MemberMissingError(ArchiveError):
    """The archive has no such member."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive: its size in bytes, whether it can be executed, and where it points if it is a link."""

    size_bytes: int
    executable: bool
    link: str | None
    open: Callable[[], IO[bytes]]


@contextmanager
def members(path: Path) -> Iterator[Mapping[str, Member]]:
    """Give the files of an archive (zip, tar with any compression, deb) by their path without leading "./".

    Raises ArchiveError for a file that is none, and for a member with an absolute path or a "..".
    """
    try:
        with ExitStack() as stack:
            with path.open("rb") as file:
                magic = file.read(8)
            if magic.startswith(b"PK"):
                yield _zip_members(stack.enter_context(zipfile.ZipFile(path)), path)
            elif magic == _AR_MAGIC:
                yield _tar_members(stack.enter_context(open_deb(path)), path)
            else:
                yield _tar_members(stack.enter_context(_open_tar(stack.enter_context(path.open("rb")), path)), path)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        lzma.LZMAError,
        gzip.BadGzipFile,
        EOFError,
        zlib.error,
    ) as error:
        raise ArchiveError(f"the archive cannot be read: {error}", where=str(path)) from error


def read_member(
    path: Path,
    member: str,
    consume: Callable[[IO[bytes]], None],
    *,
    below_top: bool = False,
    limit_bytes: int | None = None,
) -> None:
    """Hand the content of one member to `consume`; `below_top` looks below the archive's one top folder as well.

    Raises MemberMissingError, ArchiveError, and TooLargeError for one that says it is larger than `limit_bytes`.
    """
    with members(path) as files:
        name = _find(files, member, below_top=below_top)
        if name is None:
            raise MemberMissingError(f"has no member {member}{_nearest(files, member)}", where=str(path))
        if limit_bytes is not None and files[name].size_bytes > limit_bytes:
            raise TooLargeError(f"{member} has {files[name].size_bytes} bytes")
        with files[name].open() as stream:
            consume(stream)


def extract_tree(
    path: Path, prefix: str | None, target: Path, *, below_top: bool = False, limit_bytes: int | None = None,
    only: Collection[str] | None = None,
) -> None:  # fmt: skip
    """Write the files below a folder of the archive (None: all of it) below `target`, with their executable bits.

    `only` are the files that are wanted, by their paths below the folder, where not all are. Raises MemberMissingError
    where there is no such folder, ArchiveError for a link, TooLargeError past the limit.
    """
    left_bytes = limit_bytes
    with members(path) as files:
        inside = _below(files, prefix)
        if not inside and prefix is not None and below_top and (top := _top(files)):
            inside = _below(files, f"{top}/{prefix}")
        if not inside:
            raise MemberMissingError(f"has no folder {prefix or '.'}{_nearest(files, prefix or '')}", where=str(path))
        for relative, member in inside.items():
            if only is not None and relative not in only:
                continue
            if member.link is not None:
                raise ArchiveError(
                    f"{relative} is a link to {member.link}; a pinned folder holds files only", where=str(path)
                )
            file = target / relative
            file.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as stream, file.open("xb") as out:
                _, size_bytes = copy_hashed(stream, out, limit_bytes=left_bytes)
            if left_bytes is not None:
                left_bytes -= size_bytes
            file.chmod(0o755 if member.executable else 0o644)


# --- Debian packages --------------------------------------------------------------------------------------------------


@contextmanager
def open_deb(path: Path, part: Literal["data", "control"] = "data") -> Iterator[tarfile.TarFile]:
    """Open the data (what is installed) or the control part of a Debian package (deb(5)) as a tar file.

    Raises ArchiveError for what is none, and for a compression that this Python cannot read.
    """
    with path.open("rb") as file:
        name, offset, size_bytes = _ar_member(file, f"{part}.tar", path)
        section = io.BufferedReader(_Section(file, offset, size_bytes))
        with _open_tar(cast("BinaryIO", section), path, name) as tar:
            yield tar


def _ar_member(file: BinaryIO, start: str, path: Path) -> tuple[str, int, int]:
    """Return name, offset and size in bytes of the first member of an `ar` archive whose name starts so."""
    if file.read(8) != _AR_MAGIC:
        raise ArchiveError("is no Debian package", where=str(path))
    while len(header := file.read(_AR_HEADER_BYTES)) == _AR_HEADER_BYTES:
        name = header[:16].decode("ascii", "replace").rstrip().rstrip("/")
        size = header[48:58].strip()
        if header[58:] != b"`\n" or not size.isdigit():
            break
        if name == start or name.startswith(f"{start}."):
            return name, file.tell(), int(size)
        file.seek(int(size) + int(size) % 2, io.SEEK_CUR)
    raise ArchiveError(f"is no Debian package: it has no {start}", where=str(path))


class _Section(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, file: BinaryIO, offset: int, size_bytes: int) -> None:
        self._file, self._offset, self._size, self._at = file, offset, size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # what io.BufferedReader gives
        wanted = min(len(buffer), max(0, self._size - self._at))
        self._file.seek(self._offset + self._at)
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


# --- both kinds of archive as one -------------------------------------------------------------------------------------


@contextmanager
def _open_tar(file: BinaryIO, path: Path, name: str = "") -> Iterator[tarfile.TarFile]:
    start = file.read(6)
    file.seek(0)
    with ExitStack() as stack:
        plain: IO[bytes]
        if start.startswith(b"\x1f\x8b"):
            plain = cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=file)))
        elif start.startswith(b"\xfd7zXZ\0"):
            plain = cast("IO[bytes]", stack.enter_context(lzma.LZMAFile(file)))
        elif start.startswith(b"BZh"):
            plain = cast("IO[bytes]", stack.enter_context(bz2.BZ2File(file)))
        elif start.startswith(b"\x28\xb5\x2f\xfd"):
            plain = stack.enter_context(_open_zstd(file, path, name))
        else:
            plain = file
        yield stack.enter_context(tarfile.open(fileobj=plain, mode="r:"))


def _open_zstd(file: BinaryIO, path: Path, name: str) -> IO[bytes]:
    try:
        zstd = importlib.import_module("compression.zstd")
    except ImportError:
        raise ArchiveError(
            f"{name or 'the archive'} is compressed with zstd, which this Python cannot read",
            where=str(path),
            hint="name a package of Debian, whose packages are compressed with xz, or run with Python 3.14 or newer",
        ) from None
    return cast("IO[bytes]", zstd.ZstdFile(file))


def _zip_members(archive: zipfile.ZipFile, path: Path) -> dict[str, Member]:
    files = {}
    for info in archive.infolist():
        mode = info.external_attr >> 16
        if info.is_dir():
            continue
        link = archive.read(info).decode("utf-8", "replace") if stat.S_ISLNK(mode) and info.file_size < 4096 else None
        files[_safe(info.filename, path)] = Member(
            info.file_size, bool(mode & 0o100), link, partial(archive.open, info)
        )
    return files


def _tar_members(archive: tarfile.TarFile, path: Path) -> dict[str, Member]:
    files = {}
    for info in archive:
        if not (info.isreg() or info.issym() or info.islnk()):
            continue
        link = info.linkname if info.issym() else None
        files[_safe(info.name, path)] = Member(
            info.size, bool(info.mode & 0o100), link, partial(_extract, archive, info, path)
        )
    return files


def _extract(archive: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> IO[bytes]:
    try:
        stream = archive.extractfile(info)  # follows links within the archive
    except KeyError:
        stream = None
    if stream is None:
        raise ArchiveError(f"{info.name} is a link to {info.linkname}, which is not in the archive", where=str(path))
    return stream


def _safe(name: str, path: Path) -> str:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\0" in name:
        raise ArchiveError(f"the archive holds the path {name!r}, which leads out of it", where=str(path))
    return str(pure)


def _top(files: Mapping[str, Member]) -> str | None:
    """Return the one top folder that everything is in, or None."""
    tops = {name.split("/", 1)[0] for name in files}
    return tops.pop() if len(tops) == 1 else None


def _find(files: Mapping[str, Member], member: str, *, below_top: bool) -> str | None:
    if member in files:
        return member
    if below_top and (top := _top(files)) and f"{top}/{member}" in files:
        return f"{top}/{member}"
    return None


def _below(files: Mapping[str, Member], prefix: str | None) -> dict[str, Member]:
    if prefix is None:
        return dict(files)
    return {name.removeprefix(f"{prefix}/"): member for name, member in files.items() if name.startswith(f"{prefix}/")}


def _nearest(files: Mapping[str, Member], member: str) -> str:
    """Return a hint at the member that was probably meant."""
    import difflib

    base = PurePosixPath(member).name
    same = [name for name in files if base and PurePosixPath(name).name == base]
    near = same or difflib.get_close_matches(member, list(files), n=1)
    return f"; did you mean {near[0]}?" if near else ""
