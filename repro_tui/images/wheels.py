"""What installing a wheel puts where (the binary distribution format), worked out without running anything of it.

Parsing is the `installer` package's; the texts that end up in the image (launcher scripts, RECORD) are written here,
so that an image's digest does not depend on which version of that package the host has.
"""

from __future__ import annotations

import base64
import hashlib
import posixpath
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from packaging.utils import canonicalize_name

from repro_tui.artifacts.packages import WheelTarget
from repro_tui.errors import ManifestError

_CHUNK_BYTES = 1 << 20
_MAX_RATIO = 1100  # what deflate can do at best; entries that share their bytes would do more
_UNHASHED = ("RECORD", "RECORD.jws", "RECORD.p7s")
_LAUNCHER = """\
#!/usr/bin/python3
import sys

from {module} import {name}

if __name__ == "__main__":
    sys.argv[0] = sys.argv[0].removesuffix(".exe")
    sys.exit({function}())
"""


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A fetched wheel whose digest was checked."""

    name: str
    version: str
    sha256: str
    path: Path

    @property
    def label(self) -> str:
        """Name and version, as errors and inventories name it."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Planned:
    """One file to write: from the wheel (`member`, with the digest its RECORD gives), or made here (`data`)."""

    path: str
    mode: int
    size: int
    data: bytes | None = None
    member: zipfile.ZipInfo | None = None
    record: str = ""
    """Of a member: algorithm=digest, as RECORD writes it."""

    @property
    def sha256(self) -> str:
        """In hex, where RECORD gives it: `OpenWheel.content` checks it. Else empty."""
        return _decoded(self.record).hex() if self.record.startswith("sha256=") else ""


class OpenWheel:
    """A wheel opened for installing below `site_packages` (a path relative to the root); raises ManifestError."""

    def __init__(self, wheel: WheelFile, *, site_packages: str, target: WheelTarget) -> None:
        self.wheel = wheel
        self._site = site_packages
        try:
            self._zip = zipfile.ZipFile(wheel.path)
            self._members = self._list_members()
            self._dist_info = self._find_dist_info()
            self._check_tags(target)
            self.files = self._plan()
        except (zipfile.BadZipFile, KeyError, ValueError, UnicodeDecodeError, OSError) as error:
            raise self._error(str(error)) from None

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def content(self, planned: Planned) -> Iterator[bytes]:
        """Yield a file's bytes in chunks, and raise ManifestError at the end where its RECORD says otherwise."""
        if planned.member is None:
            yield planned.data or b""
            return
        algorithm, _, expected = planned.record.partition("=")
        digest = hashlib.new(algorithm)
        try:
            with self._zip.open(planned.member) as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    yield chunk
        except (zipfile.BadZipFile, EOFError, OSError) as error:
            raise self._error(f"{planned.member.filename} cannot be read: {error}") from None
        if _urlsafe(digest.digest()) != expected.rstrip("="):
            raise self._error(f"{planned.member.filename} is not what the wheel's RECORD says")

    # --- reading ------------------------------------------------------------------------------------------------------

    def _list_members(self) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            name = info.filename
            if name.endswith("/"):
                continue
            if name.startswith("/") or "\\" in name or "\0" in name or {"", ".", ".."} & set(name.split("/")):
                raise ValueError(f"{name!r} would leave the folder it is installed in")
            if name in members:
                raise ValueError(f"{name} is in it twice")
            members[name] = info
        size = sum(info.file_size for info in members.values())
        if size > self.wheel.path.stat().st_size * _MAX_RATIO:
            raise ValueError(f"it unpacks to {size} bytes, more than any honest wheel of its size")
        return members

    def _find_dist_info(self) -> str:
        folders = {name.partition("/")[0] for name in self._members if name.partition("/")[0].endswith(".dist-info")}
        if len(folders) != 1:
            raise ValueError(f"found {len(folders)} .dist-info folders, one is allowed")
        folder = folders.pop()
        name, _, version = folder.removesuffix(".dist-info").rpartition("-")
        if canonicalize_name(name) != self.wheel.name:
            raise ValueError(f"it is {name} {version}, the lock says {self.wheel.label}")
        return folder

    def _check_tags(self, target: WheelTarget) -> None:
        text = self._text(f"{self._dist_info}/WHEEL")
        metadata = HeaderParser().parsestr(text)
        if str(metadata.get("Wheel-Version", "")).split(".")[0] != "1":
            raise ValueError(f"Wheel-Version is {metadata.get('Wheel-Version')}, 1.x can be installed")
        tags = [str(value) for value in metadata.get_all("Tag", [])]
        if tags and target.rank_of_metadata(text) is None:
            raise ValueError(f"it is for {', '.join(tags)}, which this image cannot load")

    def _text(self, name: str) -> str:
        return self._zip.read(self._members[name]).decode("utf-8")

    def _records(self) -> dict[str, str]:
        from installer.records import InvalidRecordEntry, parse_record_file

        try:
            rows = list(parse_record_file(self._text(f"{self._dist_info}/RECORD").splitlines()))
        except InvalidRecordEntry as error:
            raise ValueError(f"RECORD is malformed: {error}") from None
        return {path: digest for path, digest, _ in rows}

    # --- planning -----------------------------------------------------------------------------------------------------

    def _plan(self) -> list[Planned]:
        records = self._records()
        unhashed = {f"{self._dist_info}/{name}" for name in _UNHASHED}
        missing = [name for name, digest in records.items() if digest and name not in self._members]
        if missing:
            raise ValueError(f"{missing[0]} is in RECORD but not in the wheel")
        planned: dict[str, Planned] = {}
        for name, info in self._members.items():
            if name in unhashed:
                continue
            digest = records.get(name, "")
            if digest.partition("=")[0] not in {"sha256", "sha384", "sha512"} or not _decoded(digest):
                raise ValueError(f"{name} has no digest in RECORD that can be checked")
            file = self._place(name, info, digest)
            planned[file.path] = file
        for launcher in self._launchers():
            planned[launcher.path] = launcher
        installer = f"{self._site}/{self._dist_info}/INSTALLER"
        planned[installer] = _made(installer, b"repro-tui\n")
        record = f"{self._site}/{self._dist_info}/RECORD"
        planned[record] = _made(record, self._record(record, planned))
        return [planned[path] for path in sorted(planned, key=str.encode)]

    def _place(self, name: str, info: zipfile.ZipInfo, digest: str) -> Planned:
        data_folder = self._dist_info.removesuffix(".dist-info") + ".data"
        mode = info.external_attr >> 16
        executable = stat.S_ISREG(mode) and bool(mode & 0o111)
        if not name.startswith(data_folder + "/"):
            path = f"{self._site}/{name}"
        else:
            scheme, _, rest = name.removeprefix(data_folder + "/").partition("/")
            folders = {
                "purelib": self._site,
                "platlib": self._site,
                "scripts": "usr/local/bin",
                "data": "usr/local",
                "headers": f"usr/local/include/{posixpath.basename(posixpath.dirname(self._site))}/{self.wheel.name}",
            }
            if scheme not in folders or not rest:
                raise ValueError(f"{name}: {scheme!r} is no place that wheels install to")
            path = f"{folders[scheme]}/{rest}"
            if scheme == "scripts":
                return self._script(path, info, digest)
        return Planned(path, 0o755 if executable else 0o644, info.file_size, member=info, record=digest)

    def _script(self, path: str, info: zipfile.ZipInfo, digest: str) -> Planned:
        """A script that begins with "#!python" gets the image's interpreter; any other is taken as it is."""
        with self._zip.open(info) as stream:
            if stream.read(8) != b"#!python":
                return Planned(path, 0o755, info.file_size, member=info, record=digest)
        whole = Planned(path, 0o755, info.file_size, member=info, record=digest)
        _, newline, rest = b"".join(self.content(whole)).partition(b"\n")
        return _made(path, b"#!/usr/bin/python3" + newline + rest, mode=0o755)

    def _launchers(self) -> Iterator[Planned]:
        from installer.utils import parse_entrypoints

        name = f"{self._dist_info}/entry_points.txt"
        if name not in self._members:
            return
        for script, module, attribute, _section in parse_entrypoints(self._text(name)):
            if "/" in script or script in {"", ".", ".."}:
                raise ValueError(f"entry point {script!r} would leave the scripts folder")
            text = _LAUNCHER.format(module=module, name=attribute.partition(".")[0], function=attribute)
            yield _made(f"usr/local/bin/{script}", text.encode(), mode=0o755)

    def _record(self, record: str, planned: dict[str, Planned]) -> bytes:
        rows: list[str] = []
        for path in sorted(planned, key=str.encode):
            file = planned[path]
            relative = self._relative(path)
            made = file.data is not None
            digest = "sha256=" + _urlsafe(hashlib.sha256(file.data or b"").digest()) if made else file.record
            rows.append(f"{_csv(relative)},{digest},{file.size}\n")
        rows.append(f"{_csv(self._relative(record))},,\n")
        return "".join(rows).encode()

    def _relative(self, path: str) -> str:
        inside = path.startswith(self._site + "/")
        return path[len(self._site) + 1 :] if inside else posixpath.relpath(path, self._site)

    def _error(self, message: str) -> ManifestError:
        return ManifestError(
            f"the wheel of {self.wheel.label} cannot be installed: {message}",
            where=str(self.wheel.path),
            hint="it has the bytes that the lock pins, so another file or version must be locked",
        )


def _made(path: str, data: bytes, mode: int = 0o644) -> Planned:
    return Planned(path, mode, len(data), data=data)


def _urlsafe(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _decoded(record: str) -> bytes:
    digest = record.partition("=")[2].rstrip("=")
    return base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4))


def _csv(field: str) -> str:
    return '"' + field.replace('"', '""') + '"' if set(field) & set('",\r\n') else field
