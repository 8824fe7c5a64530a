"""Listings of files, and what is different between two of them.

Two kinds are read alike: the image's inventory (images/inventory.py), and files.jsonl of the probe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro_tui.errors import InfrastructureError
from repro_tui.verify.probe import ENGINE_FILES, EXCLUDED_FOLDERS


@dataclass(frozen=True, slots=True)
class Entry:
    """A file (`value` is its hex SHA-256) or a symbolic link (`value` is its target)."""

    kind: str
    value: str
    executable: bool
    owner: str


@dataclass(frozen=True, slots=True)
class FileDifference:
    """A path that differs; `expected` None was added, `observed` None is missing."""

    path: str
    expected: Entry | None
    observed: Entry | None

    @property
    def what(self) -> str:
        """What is different about it, as the end of a sentence that begins with its path."""
        one, other = self.expected, self.observed
        if other is None:
            return "is missing"
        if one is None:
            return "was added"
        if one.kind != other.kind:
            return f"is a {other.kind}, pinned a {one.kind}"
        if one.value != other.value:
            return f"points to {other.value}, pinned {one.value}" if one.kind == "link" else "differs"
        return "is executable, pinned not" if other.executable else "is not executable, pinned so"


def read_listing(path: Path) -> dict[str, Entry]:
    """Return the files and links of a listing by absolute path; folders and what engines write are left out.

    Raises InfrastructureError for a file that is no listing.
    """
    found: dict[str, Entry] = {}
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                body = json.loads(line)
                kind = body["type"]
                if kind not in {"file", "link"} or _excluded(body["path"]):
                    continue
                value = body["sha256"] if kind == "file" else body["target"]
                found[body["path"]] = Entry(kind, value, kind == "file" and _executable(body), body["owner"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InfrastructureError(f"the list of files cannot be read: {error}", where=str(path)) from None
    return found


def unreadable_paths(path: Path) -> dict[str, bool]:
    """Return what the probe cannot read by an image's inventory, and of each whether it is closed to every use.

    What is not closed may be hidden from the probe and still be used: a program that may be run and not read, and
    whatever lies in a folder that may be entered and not listed.
    """
    found: dict[str, bool] = {}
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:  # sorted, so folders come before what lies in them
            if '"unreadable"' in line and (body := json.loads(line))["type"] == "unreadable":
                name = body["path"]
                found[name] = found.get(name.rpartition("/")[0], False) or not int(body["mode"], 8) & 0o500
    return found


def compare_listings(expected: dict[str, Entry], observed: dict[str, Entry]) -> Iterator[FileDifference]:
    """Yield what differs, in the order of the paths. Owners may differ: the two listings name them differently."""
    for path in sorted(expected.keys() | observed.keys()):
        one, other = expected.get(path), observed.get(path)
        if (
            one is None
            or other is None
            or (one.kind, one.value, one.executable) != (other.kind, other.value, other.executable)
        ):
            yield FileDifference(path, one, other)


def _executable(body: dict[str, Any]) -> bool:
    return bool(int(body["mode"], 8) & 0o100)


def _excluded(path: str) -> bool:
    return path in ENGINE_FILES or ("/" + path.split("/", 2)[1]) in EXCLUDED_FOLDERS
