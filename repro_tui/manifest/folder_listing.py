"""Listings: a file beside the manifest, as `sha256sum` writes it, that names the files of a folder one by one.

    <sha256 of the file>  <path below the folder>

With the listing a folder need not be found whole: files come by their digests, and of a larger folder only those named
are taken. What pins the folder is still its tree digest, which the listing must give; for that no file is executable.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from repro_tui.manifest.lines import Lines
from repro_tui.manifest.paths import Part, format_path
from repro_tui.manifest.problems import Problem, show
from repro_tui.manifest.trees import tree_digest_of

MAX_BYTES = 64 << 20
"""A larger file is no listing."""

_LINE = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
_ESCAPES = {"\\": "\\", "n": "\n", "r": "\r"}


def parse_line(line: str) -> tuple[str, str] | None:
    """Return digest (lower case) and name of a line of `sha256sum`, None for another line.

    A backslash before the digest says that line breaks and backslashes of the name are written with one.
    """
    found = _LINE.fullmatch(line.rstrip("\r\n"))
    if found is None:
        return None
    name = re.sub(r"\\([\\nr])", lambda escape: _ESCAPES[escape[1]], found[3]) if found[1] else found[3]
    return found[2].lower(), name


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing names."""

    path: Path
    files: Mapping[str, str]
    """SHA-256 of each file by its path below the folder."""
    lines: Mapping[str, int]
    """The line of each path, from 1."""

    @property
    def tree_sha256(self) -> str:
        """The tree digest of the folder that it names."""
        return tree_digest_of({name: (sha256, False) for name, sha256 in self.files.items()})

    def place(self, name: str) -> str:
        """Return where a file is named, as errors say it."""
        return f"{self.path}, line {self.lines[name]}"

    def chosen(self, folder: Path) -> dict[str, Path]:
        """Return the files of a folder that are named, by name; raises ListedFileError where some are not there."""
        missing = [name for name in self.files if not (folder / name).is_file() or (folder / name).is_symlink()]
        if missing:
            raise ListedFileError(self.lacking(missing), "")
        return {name: folder / name for name in self.files}

    def check(self, files: Mapping[str, Path]) -> None:
        """Compare files with their digests; raises ListedFileError for the first that has another."""
        for name, file in files.items():
            with file.open("rb", buffering=0) as stream:
                observed = hashlib.file_digest(stream, "sha256").hexdigest()
            if observed != self.files[name]:
                raise ListedFileError(name, observed)

    def lacking(self, missing: list[str]) -> str:
        """Say which of the files are not there."""
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        return f"lacks {len(missing)} of the {len(self.files)} files that {self.path.name} lists: {shown}"


class ListedFileError(Exception):
    """A listed file that is not there (`observed` is empty, and `name` says it all), or has other bytes."""

    def __init__(self, name: str, observed: str) -> None:
        super().__init__(name)
        self.name = name
        self.observed = observed


def read_listing(path: Path) -> Listing:
    """Read a listing; raises ValueError that names file and line, and shows nothing of what stands there."""
    files: dict[str, str] = {}
    lines: dict[str, int] = {}
    folders: dict[str, int] = {}
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path} is not there, or no file of a sensible size")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 at byte {error.start}") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        found = parse_line(line)
        if found is None:
            raise ValueError(f"{path}, line {number}: not a SHA-256, two spaces and a path")
        inside = PurePosixPath(found[1])
        name = str(inside)
        if inside.is_absolute() or ".." in inside.parts or not inside.parts or "\n" in name:
            raise ValueError(f"{path}, line {number}: the path leads out of the folder, or is none")
        if name in lines:
            raise ValueError(f"{path}, line {number}: the path of line {lines[name]} a second time")
        files[name], lines[name] = found[0], number
        folders |= {str(parent): number for parent in inside.parents}
    if not files:
        raise ValueError(f"{path} lists no files")
    for name in folders.keys() & files.keys():
        raise ValueError(f"{path}, line {lines[name]}: a file that line {folders[name]} has as a folder")
    return Listing(path, files, lines)


def listing_problems(data: Mapping[str, Any], lines: Lines, resolve: Callable[[str], Path]) -> Iterator[Problem]:
    """Yield what is wrong with the listings of a parsed manifest: not readable, or not of the folder that is pinned."""
    artifacts = data.get("artifacts")
    for index, artifact in enumerate(artifacts if isinstance(artifacts, list) else []):
        named = artifact.get("listing") if isinstance(artifact, dict) else None
        if not isinstance(named, str) or not named.strip():
            continue
        at: tuple[Part, ...] = ("artifacts", index, "listing")
        try:
            listing = read_listing(resolve(named.strip()))
        except ValueError as error:
            wanted = "a file as `sha256sum` writes it, relative to the manifest"
            yield Problem(format_path(at), lines.line(at), f"{show(named)}: {error}", wanted, "")
            continue
        pinned = artifact.get("tree_sha256")
        if isinstance(pinned, str) and len(pinned) == 64 and pinned != listing.tree_sha256:
            at = ("artifacts", index, "tree_sha256")
            yield Problem(
                format_path(at), lines.line(at), f"{pinned}, but {named} lists a folder of {listing.tree_sha256}",
                "the tree digest of the folder that `listing` names", "restore the listing, or pin the new folder",
            )  # fmt: skip
