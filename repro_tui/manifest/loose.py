"""Loose manifests: complete but for pins that `repro-tui lock` finds out by itself.

A loose manifest is the same TOML with keys missing: an artifact's digest and size, the commit of its source, the lock
or its digest, the digest of an image reference. It can be checked and locked, and nothing else: a run refuses it, key
by key.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro_tui.manifest.fields import GIT_COMMIT_PATTERN, IMAGE_HOST, IMAGE_PATH, IMAGE_TAG
from repro_tui.manifest.lines import Lines
from repro_tui.manifest.paths import Part, format_path, lookup
from repro_tui.manifest.problems import Problem, show
from repro_tui.manifest.stage_checks import stage_tables

LOCK_HINT = "`repro-tui lock MANIFEST` pins it"

DEFAULT_BRANCHES = {"commit": "HEAD", "revision": "main"}
"""What is meant where a source names no commit."""

_COMMIT_KEYS = {"git": "commit", "hub": "revision"}
_COMMIT = re.compile(GIT_COMMIT_PATTERN)
_BRANCH = re.compile(r"(?![-/])(?!.*(?:\.\.|//|@\{))[A-Za-z0-9._/+@-]{1,200}(?<![./])")
_PLACEHOLDER = "0" * 64
_TAG = re.compile(rf"(?:{IMAGE_HOST}/)?{IMAGE_PATH}(?::{IMAGE_TAG})?")


@dataclass(frozen=True, slots=True)
class Loose:
    """A pin that is missing: the key it belongs to, what is there and what is wanted."""

    path: tuple[Part, ...]
    found: str
    wanted: str

    @property
    def key(self) -> str:
        """The TOML path as text."""
        return format_path(self.path)

    def problem(self, lines: Lines, manifest: str = "MANIFEST") -> Problem:
        """Return it as a problem of the manifest."""
        hint = LOCK_HINT.replace("MANIFEST", manifest)
        return Problem(self.key, lines.line(self.path), self.found, self.wanted, hint)


def loose_keys(data: Mapping[str, Any], resolve: Callable[[str], Path]) -> list[Loose]:
    """Return the pins without which a parsed manifest cannot be run, in the order of the tables."""
    return [*_environment(data, resolve), *_reference(data), *_artifacts(data, resolve)]


def unpinned_keys(data: Mapping[str, Any]) -> list[Loose]:
    """Return the pins that a run does without, and a locked manifest has all the same."""
    found: list[Loose] = []
    image, environment = (_table(data, name) for name in ("image", "environment"))
    if "recipe" in image:
        found += [
            Loose(("image", key), "nothing", words)
            for key, words in (("manifest_digest", "the digest of the image"), ("config_digest", "its configuration's"))
            if key not in image
        ]
    if "hash" not in environment and {"recipe", "reference", "dockerfile"} & image.keys():
        found.append(Loose(("environment", "hash"), "nothing", "the hash of the environment"))
    for at, table in stage_tables(data):
        task = _table(table, "task")
        if "name" in task and "code_sha256" not in task:
            found.append(Loose((*at, "task", "code_sha256"), "nothing", "the digest of the built-in task's code"))
    return found


def filled(data: Mapping[str, Any], loose: list[Loose]) -> dict[str, Any]:
    """Return a copy of a parsed manifest with something for every loose key, so that the rest can be judged."""
    whole: dict[str, Any] = copy.deepcopy(dict(data))
    for each in loose:
        table, key = lookup(whole, each.path[:-1]), each.path[-1]
        match key:
            case "lock":
                table.update(lock=table.get("lock") or "lock", lock_sha256=_PLACEHOLDER)
            case "reference":
                table["reference"] = f"{table['reference']}@sha256:{_PLACEHOLDER}"
            case "bytes":
                table["bytes"] = 0
            case "commit" | "revision":
                table[key] = _PLACEHOLDER[:40]
            case _:
                table[key] = _PLACEHOLDER
    return whole


def is_tag(reference: object) -> bool:
    """Whether a reference names an image by tag only, or not even by that."""
    return isinstance(reference, str) and _TAG.fullmatch(reference) is not None


def _environment(data: Mapping[str, Any], resolve: Callable[[str], Path]) -> list[Loose]:
    environment = _table(data, "environment")
    lock, requirements = environment.get("lock"), environment.get("requirements")
    can_be_made = isinstance(requirements, str) and bool(requirements.strip())
    if lock is None:
        if not can_be_made or "lock_sha256" in environment or "recipe" not in _table(data, "image"):
            return []
        return [Loose(("environment", "lock"), "nothing", f"the dependency lock made from {show(requirements)}")]
    if not isinstance(lock, str) or not lock.strip():
        return []
    if can_be_made and not resolve(lock.strip()).exists():
        return [Loose(("environment", "lock"), f"{show(lock)}, which is not there", "the dependency lock")]
    if "lock_sha256" not in environment:
        return [Loose(("environment", "lock_sha256"), "nothing", f"the SHA-256 of {show(lock)}")]
    return []


def _reference(data: Mapping[str, Any]) -> list[Loose]:
    reference = _table(data, "image").get("reference")
    if not is_tag(reference):
        return []
    name = re.sub(rf":{IMAGE_TAG}$", "", str(reference))
    words = f"an image by digest, since a tag can move: write {name}@sha256:DIGEST"
    return [Loose(("image", "reference"), show(reference), words)]


def _artifacts(data: Mapping[str, Any], resolve: Callable[[str], Path]) -> list[Loose]:
    found: list[Loose] = []
    artifacts = data.get("artifacts")
    for index, artifact in enumerate(artifacts if isinstance(artifacts, list) else []):
        if not isinstance(artifact, dict) or not isinstance(artifact.get("sources"), list) or not artifact["sources"]:
            continue
        if "sha256" not in artifact and "tree_sha256" not in artifact:
            words = "`sha256` (a file) or `tree_sha256` (a folder), by which an artifact is pinned"
            key = "tree_sha256" if _is_folder(artifact, resolve) else "sha256"
            found.append(Loose(("artifacts", index, key), "nothing", words))
        if "bytes" not in artifact:
            found.append(Loose(("artifacts", index, "bytes"), "nothing", "its size in bytes"))
        found += _commits(artifact["sources"], ("artifacts", index, "sources"))
    return found


def _commits(sources: list[Any], path: tuple[Part, ...]) -> Iterator[Loose]:
    """Yield the sources that name a branch or a tag, or nothing, where a commit is wanted."""
    for index, source in enumerate(sources):
        key = _COMMIT_KEYS.get(str(source.get("type"))) if isinstance(source, dict) else None
        if key is None:
            continue
        name = source.get(key)
        if name is None or (isinstance(name, str) and _BRANCH.fullmatch(name) and not _COMMIT.fullmatch(name)):
            found = "nothing" if name is None else f"{show(name)}, which can move"
            yield Loose((*path, index, key), found, "a commit: all 40 hexadecimal digits")


def _is_folder(artifact: Mapping[str, Any], resolve: Callable[[str], Path]) -> bool:
    """Whether an artifact is a folder, as far as its first source says without being asked."""
    source = artifact["sources"][0]
    if "listing" in artifact:
        return True
    if not isinstance(source, dict):
        return False
    path = source.get("path")
    if source.get("type") == "local" and isinstance(path, str):
        return "files" in source or resolve(path).is_dir()
    return artifact.get("kind") == "code" or (source.get("type") == "git" and path in {None, ".", "./"})


def _table(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = data.get(name)
    return table if isinstance(table, dict) else {}
