"""Dependency locks: hashed requirements (pip's format) and pylock.toml (PEP 751), told apart by their content.

A lock pins every distribution by name, version and SHA-256. Environment markers are evaluated for the image, never for
the host. Nothing in a lock is an address: where packages come from is the host's business.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from repro_tui.artifacts.packages import WheelTarget
from repro_tui.errors import ManifestError
from repro_tui.images.recipe import ARCHITECTURES

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HASH_OPTION = re.compile(r"\s--hash(?:=|\s+)(\S+)")
NOTHING = "# no package is required"
"""The line by which a lock is known that holds no package: one that was cut off is not taken for it."""
_ACCEPTED_OPTIONS = re.compile(r"--(require-hashes|only-binary(=|\s+):all:)")


@dataclass(frozen=True, slots=True)
class LockedWheel:
    """One distribution: normalized name, version, and the SHA-256 of each file that may be used (any one of them)."""

    name: str
    version: str
    sha256s: tuple[str, ...]


def read_lock(path: Path, *, platform: str = "linux/amd64", python: str = "3.11") -> tuple[LockedWheel, ...]:
    """Read a lock for an image, sorted by name; raises ManifestError that holds every problem with its line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"the dependency lock cannot be read: {error}", where=str(path)) from None
    problems: list[str] = []
    environment = marker_environment(platform, python)
    content = _as_pylock(text)
    if content is None:
        entries = _requirements(path, text, environment, problems)
    else:
        entries = _pylock(
            path, text, content, environment=environment, fits=target(platform, python), problems=problems
        )
    wheels: dict[str, LockedWheel] = {}
    for line, wheel in entries:
        if wheel.name in wheels:
            problems.append(f"{path}:{line}: {wheel.name} is locked twice; keep one of them")
        wheels[wheel.name] = wheel
    if not wheels and not problems and content is None and NOTHING not in text.splitlines():
        problems.append(f"{path}: no package is locked")
    if problems:
        raise ManifestError(
            "the dependency lock is not valid",
            where=str(path),
            hint="make it with `pip-compile --generate-hashes` or `uv pip compile --generate-hashes`",
            problems=problems,
        )
    return tuple(wheels[name] for name in sorted(wheels))


def marker_environment(platform: str, python: str) -> Mapping[str, str]:
    """Return the marker variables (PEP 508) of an image, whatever the host is."""
    machine = ARCHITECTURES[platform]
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.2",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.2",
        "python_version": python,
        "sys_platform": "linux",
        "extra": "",
    }


def target(platform: str, python: str) -> WheelTarget:
    """Return what wheels must fit: the base's Python and glibc (Debian 12 has 2.36) on the image's machine."""
    major, _, minor = python.partition(".")
    return WheelTarget(python=(int(major), int(minor)), machine=ARCHITECTURES[platform], glibc=(2, 36))


# --- hashed requirements ----------------------------------------------------------------------------------------------


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of the first line, text) with continuations joined and comments removed."""
    start, parts = 0, list[str]()
    for number, raw in enumerate(text.splitlines(), start=1):
        line = re.sub(r"(^|\s)#.*$", "", raw)
        if not parts:
            start = number
        if raw.rstrip().endswith("\\") and line.rstrip().endswith("\\"):
            parts.append(line.rstrip()[:-1])
            continue
        if parts and not line.strip() and raw.strip():
            continue  # a comment between continued lines
        yield start, " ".join([*parts, line]).strip()
        parts = []
    if parts:
        yield start, " ".join(parts).strip()


def _requirements(
    path: Path, text: str, environment: Mapping[str, str], problems: list[str]
) -> list[tuple[int, LockedWheel]]:
    found: list[tuple[int, LockedWheel]] = []
    for number, line in _logical_lines(text):
        if not line or _ACCEPTED_OPTIONS.fullmatch(line):
            continue
        where = f"{path}:{number}"
        if line.startswith("-"):
            problems.append(
                f"{where}: found the option {line.split()[0]!r}; a lock holds only name==version and --hash "
                "(no addresses, no other files)"
            )
            continue
        hashes = _HASH_OPTION.findall(line)
        rest = _HASH_OPTION.sub("", line).strip()
        if (option := re.search(r"\s(--?[a-z]\S*)", rest)) is not None:
            problems.append(f"{where}: found the option {option[1]!r}; only --hash is allowed here")
            continue
        try:
            requirement = Requirement(rest)
        except InvalidRequirement as error:
            problems.append(f"{where}: found {rest[:80]!r}; allowed is name==version --hash=sha256:… ({error})")
            continue
        if requirement.url is not None:
            problems.append(f"{where}: {requirement.name} is required by an address; lock it by version and hash")
            continue
        if requirement.marker is not None and not requirement.marker.evaluate(dict(environment)):
            continue
        pins = list(requirement.specifier)
        if len(pins) != 1 or pins[0].operator != "==" or pins[0].version.endswith(".*"):
            problems.append(f"{where}: {requirement.name} is not pinned; write {requirement.name}==<version>")
            continue
        digests = _sha256s(where, requirement.name, hashes, problems)
        if digests:
            name = str(canonicalize_name(requirement.name))
            found.append((number, LockedWheel(name, pins[0].version, digests)))
    return found


def _sha256s(where: str, name: str, hashes: Iterable[str], problems: list[str]) -> tuple[str, ...]:
    digests: list[str] = []
    for value in hashes:
        algorithm, _, digest = value.partition(":")
        if algorithm != "sha256" or _SHA256.fullmatch(digest) is None:
            problems.append(f"{where}: {name}: found --hash={value[:80]}; allowed is sha256: and 64 hex digits")
            return ()
        digests.append(digest)
    if not digests:
        problems.append(f"{where}: {name} has no hash; add --hash=sha256:… of the wheel")
    return tuple(dict.fromkeys(digests))


# --- pylock.toml ------------------------------------------------------------------------------------------------------


def _as_pylock(text: str) -> dict[str, Any] | None:
    """Return the content of a pylock.toml, None for anything else."""
    if not re.search(r"^lock-version\s*=", text, re.MULTILINE):
        return None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _pylock(
    path: Path,
    text: str,
    content: dict[str, Any],
    *,
    environment: Mapping[str, str],
    fits: WheelTarget,
    problems: list[str],
) -> list[tuple[int, LockedWheel]]:
    if str(content["lock-version"]).split(".")[0] != "1":
        problems.append(f"{path}: lock-version is {content['lock-version']!r}; this reads version 1 (PEP 751)")
        return []
    lines = [number for number, line in enumerate(text.splitlines(), start=1) if line.strip() == "[[packages]]"]
    found: list[tuple[int, LockedWheel]] = []
    variables = {**environment, "extras": "", "dependency_groups": ""}
    packages = content.get("packages", [])
    for index, package in enumerate(packages):
        number = lines[index] if len(lines) == len(packages) else 0
        where = f"{path}:{number}" if number else f"{path}: packages[{index}]"
        try:
            name = str(canonicalize_name(package["name"]))
            marker = package.get("marker")
            if marker is not None and not Marker(marker).evaluate(variables):
                continue
            if source := next((key for key in ("vcs", "directory", "archive") if key in package), None):
                problems.append(f"{where}: {name} comes from a {source}; only wheels from an index can be assembled")
                continue
            if "version" not in package:
                problems.append(f"{where}: {name} has no version")
                continue
            ranked: list[tuple[int, str]] = []
            for wheel in package.get("wheels", []):
                _, _, _, wheel_tags = parse_wheel_filename(_wheel_filename(wheel))
                if (rank := fits.rank(wheel_tags)) is not None:
                    ranked.append((rank, wheel["hashes"]["sha256"]))
        except (KeyError, TypeError, AttributeError, InvalidMarker, InvalidWheelFilename) as error:
            problems.append(f"{where}: not as PEP 751 describes a package: {type(error).__name__}: {error}")
            continue
        if not ranked:
            problems.append(f"{where}: {name} {package['version']} has no wheel for this image")
            continue
        digests = _sha256s(where, name, (f"sha256:{digest}" for _, digest in sorted(ranked)), problems)
        if digests:
            found.append((number, LockedWheel(name, str(package["version"]), digests)))
    return found


def _wheel_filename(wheel: Mapping[str, Any]) -> str:
    for key in ("name", "path", "url"):
        if key in wheel:
            return str(wheel[key]).rpartition("/")[2].partition("#")[0].replace("%2B", "+").replace("%2b", "+")
    raise KeyError("name, path or url of a wheel")
