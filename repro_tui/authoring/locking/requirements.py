"""The loose file that a lock is made from: requirements in pip's format, pyproject.toml, a lock, a conda environment.

What it asks for is read here without resolving anything: to refuse what no lock can pin, to see whether a lock still
has it, and to know by one digest whether it is the file that the lock was made from.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from repro_tui.authoring import conda
from repro_tui.errors import ManifestError
from repro_tui.images.locks import LockedWheel, marker_environment

PYLOCK = re.compile(r"pylock(\..+)?\.toml")
_DEEPEST = 10
_OPTION = re.compile(r"^(?P<name>--?[A-Za-z][A-Za-z-]*)(?:[=\s]+(?P<value>.*))?$")
_FILES = {"-r", "--requirement", "-c", "--constraint"}
_ADDRESSES = {"-i", "--index-url", "--extra-index-url", "-f", "--find-links"}
_HARMLESS = {
    "--no-index", "--only-binary", "--prefer-binary", "--require-hashes", "--pre", "--trusted-host", "--no-binary",
    "--use-feature",
}  # fmt: skip
_URL = "lock it by name and version (a wheel of it in a folder that PIP_FIND_LINKS names will do), or pin it as code"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One requirement, and the line that it stands on."""

    where: str
    requirement: Requirement


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a file asks for."""

    path: Path
    wanted: tuple[Wanted, ...]
    constraints: tuple[Wanted, ...]
    notes: tuple[str, ...]
    """What its author should know."""
    content: tuple[str, ...]
    """Everything that decides about the lock, in a form that comments and order do not change."""
    pip_lines: tuple[str, ...] = ()
    """The same for pip, where the file itself is in a format that only conda reads."""

    @property
    def is_lock(self) -> bool:
        """Whether the file says every version itself."""
        return self.path.name == "uv.lock" or PYLOCK.fullmatch(self.path.name) is not None

    @property
    def is_nothing(self) -> bool:
        """Whether no package is asked for: Python alone will do."""
        return not self.wanted and not self.is_lock

    def digest(self, platform: str, python: str) -> str:
        """Return the SHA-256 that a lock made from this for an image carries in its head."""
        document = json.dumps([platform, python, sorted(self.content)])
        return hashlib.sha256(document.encode()).hexdigest()


def read_requirements(path: Path) -> Requirements:
    """Read the file; raises ManifestError that holds everything in it that no lock can pin."""
    found = _Reading()
    if path.name in conda.FILES:
        found.conda(path)
    elif path.suffix == ".toml" or path.name == "uv.lock":
        found.toml(path)
    else:
        found.file(path, constraints=False, depth=0)
    if found.problems:
        raise ManifestError(
            f"{path} asks for what no lock can pin", where=str(path), hint="every line names its remedy",
            problems=found.problems,
        )  # fmt: skip
    return Requirements(
        path, tuple(found.wanted), tuple(found.constraints), tuple(dict.fromkeys(found.notes)), tuple(found.content),
        tuple(found.pip_lines),
    )  # fmt: skip


def unsatisfied(
    requirements: Requirements, locked: Sequence[LockedWheel], *, platform: str, python: str
) -> list[tuple[str, str]]:
    """Return (where, what is wrong) for every requirement that a lock does not have."""
    versions: Mapping[str, str] = {wheel.name: wheel.version for wheel in locked}
    environment = dict(marker_environment(platform, python))
    found: list[tuple[str, str]] = []
    for wanted in requirements.wanted:
        requirement = wanted.requirement
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        version = versions.get(str(canonicalize_name(requirement.name)))
        if version is None:
            found.append((wanted.where, f"{requirement.name} is required, and not locked"))
        elif not requirement.specifier.contains(version, prereleases=True):
            found.append((wanted.where, f"{requirement.name}{requirement.specifier} is required, {version} is locked"))
    for wanted in requirements.constraints:
        requirement = wanted.requirement
        version = versions.get(str(canonicalize_name(requirement.name)))
        if version is not None and not requirement.specifier.contains(version, prereleases=True):
            found.append(
                (wanted.where, f"{requirement.name}{requirement.specifier} is a constraint, {version} is locked")
            )
    return found


class _Reading:
    def __init__(self) -> None:
        self.wanted: list[Wanted] = []
        self.constraints: list[Wanted] = []
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.content: list[str] = []
        self.pip_lines: list[str] = []

    def conda(self, path: Path) -> None:
        environment = conda.read(_text(path))
        for each in environment.unclear:
            self.problems.append(
                f"{path}:{each.number}: {each.text[:80]!r} cannot be asked of pip: write NAME, or NAME=VERSION"
            )
        if environment.left_out:
            named = ", ".join(each.text for each in environment.left_out)
            self.notes.append(f"{path.name} is read for its Python packages, as pip names them; left out: {named}")
        for each in environment.wanted:
            self._line(f"{path}:{each.number}", each.text, path.parent, constraints=False, depth=0)
            option = _OPTION.match(each.text)
            file = option is not None and option["name"] in _FILES and option["value"]
            self.pip_lines.append(f"{option['name']} {path.parent.absolute() / file}" if option and file else each.text)

    def toml(self, path: Path) -> None:
        text = _text(path)
        try:
            data = tomllib.loads(text)
        except ValueError as error:
            raise ManifestError(f"it is not TOML: {error}", where=str(path)) from None
        if path.name == "uv.lock" or PYLOCK.fullmatch(path.name) is not None:
            self.content.append(hashlib.sha256(text.encode()).hexdigest())
            return
        project = data.get("project", {})
        dependencies = project.get("dependencies", []) if isinstance(project, dict) else []
        if not isinstance(dependencies, list) or (not dependencies and "dependencies" not in project):
            raise ManifestError(
                "it names no dependencies", where=str(path), hint="they are read from project.dependencies (PEP 621)"
            )
        lines = text.splitlines()
        for each in dependencies:
            number = next((count for count, line in enumerate(lines, 1) if str(each) in line), 1)
            self._requirement(f"{path}:{number}", str(each), constraints=False)

    def file(self, path: Path, *, constraints: bool, depth: int) -> None:
        if depth > _DEEPEST:
            self.problems.append(f"{path}: files that include each other")
            return
        for number, line in _lines(_text(path)):
            self._line(f"{path}:{number}", line, path.parent, constraints=constraints, depth=depth)

    def _line(self, where: str, line: str, folder: Path, *, constraints: bool, depth: int) -> None:
        option = _OPTION.match(line)
        if option is None:
            self._requirement(where, line, constraints=constraints)
            return
        name, value = option["name"], (option["value"] or "").strip()
        if name in _FILES:
            self.file(folder / value, constraints=constraints or name in {"-c", "--constraint"}, depth=depth + 1)
        elif name in {"-e", "--editable"}:
            self.problems.append(f'{where}: an editable install ({value}): make it an artifact of kind "code", {_URL}')
        elif name in _ADDRESSES:
            self.notes.append(f"{where}: {name} is used here and not kept: who reruns this needs pip to look there too")
        elif name not in _HARMLESS:
            self.problems.append(f"{where}: the option {name} has no place in a lock: take it away")

    def _requirement(self, where: str, text: str, *, constraints: bool) -> None:
        text = re.sub(r"\s--hash[=\s]\S+", "", text).strip()
        if re.match(r"^(?:[a-z+]+://|git\+|\.{0,2}/|file:)", text) or text.endswith((".whl", ".tar.gz", ".zip")):
            self.problems.append(f"{where}: {text[:80]} is an address or a file, not a package by name: {_URL}")
            return
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            self.problems.append(f"{where}: {text[:80]!r} is no requirement: {str(error).splitlines()[0]}")
            return
        if requirement.url is not None:
            self.problems.append(f"{where}: {requirement.name} comes from an address: {_URL}")
            return
        (self.constraints if constraints else self.wanted).append(Wanted(where, requirement))
        self.content.append(f"{'-c ' if constraints else ''}{requirement}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ManifestError(
            f"the file that names the dependencies cannot be read: {reason}", where=str(path),
            hint="environment.requirements names it, relative to the manifest",
        ) from None  # fmt: skip


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each logical line with the number of its first, without comments."""
    start, parts = 0, list[str]()
    for number, raw in enumerate(text.splitlines(), 1):
        start = start if parts else number
        line = re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        if line.endswith("\\"):
            parts.append(line[:-1])
            continue
        whole = " ".join([*parts, line]).strip()
        parts = []
        if whole:
            yield start, whole
