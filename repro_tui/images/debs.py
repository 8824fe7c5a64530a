"""Debian packages: the base lock that pins them, and what is inside one.

A lock is one line a package, sorted by name: name, version, architecture, SHA-256, path in the archive's pool, bytes.
It holds no address: the path is the same on every mirror of the archive (Debian Policy, section 5.6.25 "Filename").
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from repro_tui.errors import ManifestError

MAX_PART_BYTES = 1 << 30
"""Of a package, uncompressed, in memory: no package of a base has a tenth of it."""

_LINE = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]+) (?P<version>[0-9][A-Za-z0-9.+:~-]*) (?P<architecture>[a-z0-9-]+) "
    r"(?P<sha256>[0-9a-f]{64}) (?P<pool_path>pool/main/[A-Za-z0-9.+~_/-]+\.deb) (?P<size_bytes>[0-9]+)"
)


@dataclass(frozen=True, slots=True)
class LockedDeb:
    """One line of a base lock. `pool_path` as the archive's index writes it, beginning with "pool/main/"."""

    name: str
    version: str
    architecture: str
    sha256: str
    pool_path: str
    size_bytes: int

    def to_line(self) -> str:
        """Return the line, with its newline."""
        return f"{self.name} {self.version} {self.architecture} {self.sha256} {self.pool_path} {self.size_bytes}\n"


def read_base_lock(path: Path) -> tuple[LockedDeb, ...]:
    """Read a base lock; raises ManifestError that names every bad line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"the base lock cannot be read: {error}", where=str(path), hint="make it with `repro-tui image lock-base`"
        ) from None
    debs: dict[str, LockedDeb] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None or ".." in found["pool_path"].split("/"):
            problems.append(
                f"{path}:{number}: found {line[:60]!r}; allowed is: name version architecture sha256 pool-path bytes"
            )
        elif found["name"] in debs:
            problems.append(f"{path}:{number}: {found['name']} is locked twice; keep one of the lines")
        else:
            fields = found.groupdict()
            debs[found["name"]] = LockedDeb(
                fields["name"], fields["version"], fields["architecture"], fields["sha256"], fields["pool_path"],
                int(fields["size_bytes"]),
            )  # fmt: skip
    if not debs and not problems:
        problems.append(f"{path}: no package is locked")
    if problems:
        raise ManifestError(
            "the base lock is not valid", where=str(path), hint="make it anew with `repro-tui image lock-base`",
            problems=problems,
        )  # fmt: skip
    return tuple(debs[name] for name in sorted(debs))


@dataclass(frozen=True, slots=True)
class Member:
    """One path of a package: `type` is "file", "folder" or "link"; `path` is relative to the root."""

    path: str
    type: str
    mode: int
    data: bytes = b""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Deb:
    """An opened package: the text of its control file, and its members in archive order."""

    control: str
    members: tuple[Member, ...]


def open_deb(data: bytes, name: str) -> Deb:
    """Read a package (deb(5), format 2.0), running nothing of it; raises ManifestError where it is malformed."""
    try:
        parts = dict(_ar_members(data))
        with _tar(parts, "control.tar") as control:
            entry = next(info for info in control if info.name in {"./control", "control"})
            text = _content(control, entry).decode()
        with _tar(parts, "data.tar") as archive:
            members = tuple(_members(archive))
    except (StopIteration, KeyError, ValueError, tarfile.TarError, lzma.LZMAError, OSError, EOFError) as error:
        raise ManifestError(
            f"{name} is not a Debian package this can read: {error}",
            where=name, hint="lock the base anew; only packages compressed with xz or gzip are supported",
        ) from None  # fmt: skip
    return Deb(text, members)


def _ar_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    if data[:8] != b"!<arch>\n":
        raise ValueError("no ar archive")
    position = 8
    while position + 60 <= len(data):
        head = data[position : position + 60]
        if head[58:] != b"`\n":
            raise ValueError(f"broken ar header at byte {position}")
        size = int(head[48:58])
        yield head[:16].decode().strip().rstrip("/"), data[position + 60 : position + 60 + size]
        position += 60 + size + size % 2


def _tar(parts: dict[str, bytes], stem: str) -> tarfile.TarFile:
    for suffix, opened in _COMPRESSIONS:
        if stem + suffix in parts:
            with opened(io.BytesIO(parts[stem + suffix])) as stream:
                content = stream.read(MAX_PART_BYTES + 1)
            if len(content) > MAX_PART_BYTES:
                raise ValueError(f"its {stem} unpacks to more than {MAX_PART_BYTES >> 20} MiB")
            return tarfile.open(fileobj=io.BytesIO(content), mode="r:", encoding="utf-8")
    raise ValueError(f"no {stem}.xz or {stem}.gz in it")


_COMPRESSIONS: tuple[tuple[str, Callable[[io.BytesIO], IO[bytes]]], ...] = (
    (".xz", lambda file: cast("IO[bytes]", lzma.LZMAFile(file))),  # noqa: SIM115 - whoever calls it closes it
    (".gz", lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file))),
    ("", lambda file: file),
)


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info)
    if file is None:
        raise ValueError(f"{info.name} has no content")
    return file.read()


def _members(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        path = _relative(info.name)
        if not path:
            continue
        if info.isdir():
            yield Member(path, "folder", info.mode)
        elif info.issym():
            yield Member(path, "link", 0o777, target=info.linkname)
        elif info.isreg() or info.islnk():
            # A hard link becomes a file of its own: a layer then never depends on the order of two entries.
            yield Member(path, "file", info.mode, data=_content(archive, info))
        else:
            raise ValueError(f"{info.name} is neither file, folder nor link")


def _relative(name: str) -> str:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts or "\0" in name:
        raise ValueError(f"{name!r} leaves the root")
    return "/".join(parts)
