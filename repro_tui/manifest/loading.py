"""Turns a file into a manifest, or into every problem it has at once."""

from __future__ import annotations

import hashlib
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from repro_tui.errors import ManifestError
from repro_tui.manifest.checks import builtin_task, cross_problems
from repro_tui.manifest.folder_listing import listing_problems
from repro_tui.manifest.lines import Lines
from repro_tui.manifest.loose import Loose, filled, loose_keys
from repro_tui.manifest.marks import marked_problems
from repro_tui.manifest.models import Manifest
from repro_tui.manifest.paths import format_path, parse_path, resolve_names
from repro_tui.manifest.pinned_files import pinned_file_problems
from repro_tui.manifest.problems import Problem, did_you_mean, show, sort_problems
from repro_tui.manifest.record import Record
from repro_tui.manifest.stage_checks import stage_tables
from repro_tui.manifest.wording import rule_problems, validation_problems

MAX_BYTES = 4 << 20
"""A larger file is no manifest."""

_PLACE = re.compile(r"\s*\((?:at line (?P<line>\d+), column (?P<column>\d+)|at end of document)\)$")


@dataclass(frozen=True)
class LoadedManifest:
    """A manifest without problems, and the file it came from."""

    manifest: Manifest
    path: Path
    text: str
    sha256: str
    """Hex SHA-256 of the file."""
    record: Record | None
    """The pinned record of the published run, where the manifest has one."""
    task_code: Mapping[str, Path] = field(default_factory=dict)
    """Folders of pinned code of built-in tasks by its digest, where that is used and not the one that is installed."""

    def resolve(self, relative: str) -> Path:
        """Return the path of a file that the manifest names relative to itself."""
        return resolve_beside(self.path, relative)

    def line_of(self, toml_path: str) -> int | None:
        """Return the line of a TOML path, or of the table around it; None where the manifest has neither.

        Elements of arrays of tables are given by index or by name: `artifacts[0].sha256`, `artifacts.r8-train.sha256`.
        """
        return self._lines.line(resolve_names(parse_path(toml_path), tomllib.loads(self.text)))

    @cached_property
    def _lines(self) -> Lines:
        return Lines(self.text)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What became of a file: a manifest, or its problems in the order of the file."""

    loaded: LoadedManifest | None
    problems: tuple[Problem, ...]


def load(path: Path) -> LoadedManifest:
    """Return the manifest in a file; raises ManifestError whose `problems` are all that are to be found in it."""
    inspection = inspect(path)
    if inspection.loaded is None:
        raise _refused(path, inspection.problems)
    return inspection.loaded


def _refused(path: Path, problems: Sequence[Problem]) -> ManifestError:
    count = len(problems)
    return ManifestError(
        f"{path} has {count} problem{'s' if count > 1 else ''}",
        where=str(path),
        hint="docs/manifest.md describes every key",
        problems=[problem.block(str(path)) for problem in problems],
    )


def inspect(path: Path) -> Inspection:
    """Return the manifest in a file, or every problem it has; never raises for what a file may hold."""
    read = read_toml(path)
    if isinstance(read, Problem):
        return Inspection(None, (read,))
    content, text, data = read
    lines = Lines(text)

    def resolve(relative: str) -> Path:
        return resolve_beside(path, relative)

    loose = loose_keys(data, resolve)
    locked = {**data, "environment": {}} if any(each.path[-1] == "lock" for each in loose) else data
    record, problems = pinned_file_problems(locked, lines, resolve)
    manifest, found = _judge(data, lines, loose)
    problems = [
        *found,
        *problems,
        *listing_problems(data, lines, resolve),
        *(each.problem(lines, str(path)) for each in loose),
    ]
    if problems or manifest is None:
        return Inspection(None, tuple(sort_problems(problems)))
    return Inspection(LoadedManifest(manifest, path, text, hashlib.sha256(content).hexdigest(), record), ())


def load_loose(path: Path) -> tuple[LoadedManifest, list[Loose]]:
    """Return a manifest that may be loose, and what is; in the place of a loose pin stands one of zeros.

    Files beside the manifest are not compared with their pins, and it has no record: that is for who locks it. Raises
    ManifestError for every problem that locking does not solve.
    """
    read = read_toml(path)
    problems, loose, manifest = [], list[Loose](), None
    if isinstance(read, Problem):
        problems = [read]
    else:
        lines = Lines(read[1])
        loose = loose_keys(read[2], lambda relative: resolve_beside(path, relative))
        manifest, problems = _judge(read[2], lines, loose)
    if problems or manifest is None or isinstance(read, Problem):
        raise _refused(path, sort_problems(problems))
    return LoadedManifest(manifest, path, read[1], hashlib.sha256(read[0]).hexdigest(), None), loose


def _judge(data: Mapping[str, Any], lines: Lines, loose: list[Loose]) -> tuple[Manifest | None, list[Problem]]:
    """Return the manifest with its loose keys filled in, and what is wrong besides them."""
    whole = filled(data, loose)
    manifest, problems = _validate(whole, lines)
    return manifest, [*problems, *cross_problems(whole, lines), *marked_problems(lines)]


def read_toml(path: Path) -> tuple[bytes, str, dict[str, Any]] | Problem:
    """Return a file's bytes, its text and what TOML says it holds, or the problem that keeps it from being read."""
    content = _read(path)
    if isinstance(content, Problem):
        return content
    text = _decode(content)
    if isinstance(text, Problem):
        return text
    data = _parse(text)
    return data if isinstance(data, Problem) else (content, text, data)


def resolve_beside(manifest: Path, relative: str) -> Path:
    """Return the path of a file that is named relative to a manifest."""
    return manifest.absolute().parent / Path(relative)


def _validate(data: Mapping[str, Any], lines: Lines) -> tuple[Manifest | None, list[Problem]]:
    manifest, problems = None, []
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        problems += validation_problems(error, Manifest, data, lines)
    problems += rule_problems(Manifest, data, lines)
    for at, table in stage_tables(data):
        task, hyperparameters = builtin_task(table), table.get("hyperparameters", {})
        if task is None or not isinstance(hyperparameters, dict):
            continue
        # The task's own model says more than the general one: its word replaces that.
        prefix = (*at, "hyperparameters")
        general = f"{format_path(prefix)}."
        problems = [problem for problem in problems if not problem.toml_path.startswith(general)]
        try:
            task.hyperparameters.model_validate(hyperparameters)
        except ValidationError as error:
            problems += validation_problems(error, task.hyperparameters, hyperparameters, lines, prefix)
        problems += rule_problems(task.hyperparameters, hyperparameters, lines, prefix)
    return manifest, problems


def _read(path: Path) -> bytes | Problem:
    wanted = "a manifest: a TOML file"
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            inside = sorted(file.name for file in path.glob("*.toml"))
            return Problem("", None, "a folder", wanted, f"it holds {', '.join(inside[:5])}" if inside else "")
        if not stat.S_ISREG(status.st_mode):
            return Problem("", None, "no regular file", wanted)
        if status.st_size > MAX_BYTES:
            found = f"a file of {status.st_size:,} bytes"
            return Problem("", None, found, f"{wanted} of at most {MAX_BYTES:,} bytes", "data belongs in artifacts")
        content = path.read_bytes()
    except FileNotFoundError:
        return Problem("", None, "no such file", wanted, _similar_file(path) or "`repro-tui init` drafts one")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Problem("", None, f"a file that cannot be read: {reason}", wanted)
    return content if content.strip() else Problem("", None, "an empty file", wanted, "docs/manifest.md has an example")


def _similar_file(path: Path) -> str:
    try:
        return did_you_mean(path.name, [file.name for file in path.parent.glob("*.toml")])
    except OSError:
        return ""


def _decode(content: bytes) -> str | Problem:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        found = f"the byte 0x{content[error.start]:02x} at byte {column} of the line"
        return Problem("", line, found, "text in UTF-8", "save the file in UTF-8")
    if text.startswith("\ufeff"):
        return Problem(
            "", 1, "a byte order mark", "UTF-8 without one", "save the file as UTF-8 without a byte order mark"
        )
    return text


def _parse(text: str) -> dict[str, Any] | Problem:
    try:
        return tomllib.loads(text)
    except RecursionError:
        return Problem("", None, "arrays or tables nested too deep", "a few levels")
    except ValueError as error:  # TOMLDecodeError, and a number that Python refuses to convert
        message = str(error)
        place = _PLACE.search(message)
        message = message[: place.start()] if place else message
        line = int(place["line"]) if place and place["line"] else len(text.splitlines()) if place else None
        column = (
            f" at column {place['column']}" if place and place["column"] else " at the end of the file" if place else ""
        )
        return Problem("", line, f"{_plain(message)}{column}", "TOML 1.0", _syntax_hint(text, line, message))


def _plain(message: str) -> str:
    return f"not TOML: {message[:1].lower()}{message[1:]}"


def _syntax_hint(text: str, line: int | None, message: str) -> str:
    if message.startswith("Cannot overwrite a value"):
        return "a key is given twice in one table"
    if message.startswith(("Cannot declare", "Cannot mutate", "Cannot redefine")):
        return "a table is given twice; an array of tables has [[two brackets]]"
    source = text.splitlines()[line - 1].strip() if line and line <= len(text.splitlines()) else ""
    if message == "Invalid value":
        return f"text needs quotes; true and false are lower-case: {show(source)}"
    return f"the line is {show(source)}" if source else ""
