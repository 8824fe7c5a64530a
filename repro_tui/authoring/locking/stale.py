"""What is loose or stale in a manifest, found without a network: `repro-tui lock --check`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro_tui.artifacts.listed import listing_of
from repro_tui.artifacts.measuring import Measured, measure_local
from repro_tui.artifacts.sources.base import SourceUnavailableError
from repro_tui.artifacts.store import Store
from repro_tui.authoring.locking.requirements import Requirements, read_requirements, unsatisfied
from repro_tui.authoring.locking.resolving import Target, made_from
from repro_tui.errors import ManifestError
from repro_tui.images.assemble import find_image
from repro_tui.images.locks import LockedWheel, read_lock
from repro_tui.images.recipe import Recipe, find_recipe
from repro_tui.manifest.code import builtin_code_digest
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.manifest.loose import Loose, unpinned_keys
from repro_tui.manifest.models import Artifact, LocalSource
from repro_tui.manifest.paths import Part, format_path, lookup

PARTS = ("dependencies", "image", "artifacts", "code", "environment")
"""What can be locked on its own, in the order in which it is done."""

_PART_OF = {
    "environment.lock": "dependencies", "environment.lock_sha256": "dependencies", "environment.hash": "environment",
    "task.code_sha256": "code",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """A key that is loose or stale: where it is and why."""

    key: str
    where: str
    words: str

    @property
    def part(self) -> str:
        """Which part of locking sees to it."""
        return _PART_OF.get(self.key) or self.key.partition(".")[0].partition("[")[0]


@dataclass(frozen=True)
class Subject:
    """A manifest that is to be locked or looked at, and what belongs to it."""

    loaded: LoadedManifest
    """Zeros stand for what is loose."""
    data: dict[str, Any]
    """The manifest as it was read."""
    loose: tuple[Loose, ...]

    @property
    def recipe(self) -> Recipe | None:
        """The recipe that the image is assembled by; raises ManifestError where it is not to be found."""
        image = self.loaded.manifest.image
        if image.recipe is None:
            return None
        folder = self.loaded.path.absolute().parent
        return find_recipe(image.recipe, image.platform, near=(folder, folder.parent))

    @property
    def target(self) -> Target:
        """What wheels are for."""
        recipe = self.recipe
        return Target(self.loaded.manifest.image.platform, recipe.python if recipe is not None else "3.11")

    @property
    def requirements(self) -> Requirements | None:
        """The loose file; raises ManifestError where it is not to be read or holds what cannot be locked."""
        named = self.loaded.manifest.environment.requirements
        return None if named is None else read_requirements(self.loaded.path.parent / named)

    @property
    def lock_name(self) -> str | None:
        """Path of the lock as the manifest has it or will have it; None where there is none and none is needed."""
        environment = lookup(self.data, ("environment",)) or {}
        if environment.get("lock"):
            return str(environment["lock"]).strip()
        if not environment.get("requirements"):
            return None
        path = Path(str(environment["requirements"]).strip())
        return str(path.with_name(f"{path.stem}.lock.txt"))

    @property
    def lock(self) -> Path | None:
        """The lock's file, whether it is there or not."""
        return None if self.lock_name is None else self.loaded.resolve(self.lock_name)

    def key(self, path: Sequence[Part]) -> str:
        """Return a path as text, with the artifact's name in place of its index."""
        parts = list(path)
        if parts[0] == "artifacts" and isinstance(parts[1], int):
            parts[1] = self.loaded.manifest.artifacts[parts[1]].name
        return format_path(parts)

    def where(self, key: str) -> str:
        """Return FILE:LINE of a key, or of the table that it belongs to."""
        line = self.loaded.line_of(key)
        return f"{self.loaded.path}:{line}" if line else str(self.loaded.path)

    def locked(self) -> tuple[LockedWheel, ...] | None:
        """Return what the lock holds, None where it is not there or cannot be read."""
        if self.lock is None or not self.lock.is_file():
            return None
        try:
            return read_lock(self.lock, platform=self.target.platform, python=self.target.python)
        except ManifestError:
            return None


def findings(subject: Subject, store: Store) -> list[Finding]:
    """Return everything that is loose or stale."""
    loose = [*subject.loose, *unpinned_keys(subject.data)]
    found = [
        Finding(subject.key(each.path), subject.where(each.key), f"{each.found}, wanted is {each.wanted}")
        for each in loose
    ]
    known = {each.key for each in found}
    stale = (*_lock(subject), *_artifacts(subject), *_code(subject), *_image(subject, store))
    return [*found, *(finding for finding in stale if finding.key not in known)]


def lock_findings(subject: Subject) -> list[Finding]:
    """Return why the dependency lock that is there is not the one that the requirements ask for."""
    requirements, lock = subject.requirements, subject.lock
    if requirements is None or lock is None or not lock.is_file():
        return []
    locked = subject.locked()
    target = subject.target
    if locked is None:
        return [Finding("environment.lock", subject.where("environment.lock"), f"{lock.name} is no lock for the image")]
    wrong = unsatisfied(requirements, locked, platform=target.platform, python=target.python)
    if wrong:
        return [Finding("environment.lock", where, f"{words} in {lock.name}") for where, words in wrong]
    if made_from(_text(lock)) not in {None, requirements.digest(target.platform, target.python)}:
        words = f"{requirements.path.name} is another than {lock.name} was made from"
        return [Finding("environment.lock", subject.where("environment.requirements"), words)]
    return []


def changed_artifacts(subject: Subject) -> Iterator[tuple[int, Artifact, Measured | SourceUnavailableError]]:
    """Yield each artifact whose first source is of this host and no longer what is pinned, with what it is now."""
    loose = {each.path[1] for each in subject.loose if each.path[0] == "artifacts"}
    for index, artifact in enumerate(subject.loaded.manifest.artifacts):
        source = artifact.sources[0]
        if not isinstance(source, LocalSource) or index in loose:
            continue
        try:
            base = subject.loaded.path.absolute().parent
            now = measure_local(base, source, listing_of(artifact, base))
        except SourceUnavailableError as error:
            if len(artifact.sources) == 1:
                yield index, artifact, error
            continue
        pinned = artifact.tree_sha256 if now.is_folder else artifact.sha256
        if pinned != now.sha256 or artifact.bytes != now.bytes:
            yield index, artifact, now


def changed_listings(subject: Subject) -> Iterator[tuple[int, Artifact, str]]:
    """Yield each artifact whose listing names another folder than is pinned, with that one's tree digest."""
    loose = {each.path[1] for each in subject.loose if each.path[0] == "artifacts"}
    for index, artifact in enumerate(subject.loaded.manifest.artifacts):
        listing = listing_of(artifact, subject.loaded.path.absolute().parent)
        if listing is not None and index not in loose and listing.tree_sha256 != artifact.tree_sha256:
            yield index, artifact, listing.tree_sha256


def _lock(subject: Subject) -> Iterator[Finding]:
    yield from lock_findings(subject)
    lock, pinned = subject.lock, lookup(subject.data, ("environment", "lock_sha256"))
    if lock is None or pinned is None:
        return
    if not lock.is_file():
        yield Finding("environment.lock", subject.where("environment.lock"), f"{lock} is not there")
    elif (now := hashlib.sha256(lock.read_bytes()).hexdigest()) != pinned:
        key = "environment.lock_sha256"
        yield Finding(key, subject.where(key), f"stale: {lock.name} has SHA-256 {now}")


def _artifacts(subject: Subject) -> Iterator[Finding]:
    for index, artifact, now in changed_artifacts(subject):
        words = now.reason if isinstance(now, SourceUnavailableError) else f"{now.source} is now {now.sha256}"
        key = subject.key(("artifacts", index, "tree_sha256" if artifact.tree_sha256 else "sha256"))
        yield Finding(key, subject.where(key), f"stale: {words}")
    for index, artifact, tree_sha256 in changed_listings(subject):
        key = subject.key(("artifacts", index, "tree_sha256"))
        yield Finding(key, subject.where(key), f"stale: {artifact.listing} lists a folder of {tree_sha256}")


def _code(subject: Subject) -> Iterator[Finding]:
    for stage in subject.loaded.manifest.every_stage:
        task, key = stage.task, stage.key("task", "code_sha256")
        if task.name is None or task.code_sha256 in {None, now := builtin_code_digest(task.name)}:
            continue
        yield Finding(key, subject.where(key), f"stale: this version's code is {now}")


def _image(subject: Subject, store: Store) -> Iterator[Finding]:
    """Compare the digests with the image that the locks make, where that is in the store already."""
    recipe, lock, pins = subject.recipe, subject.lock, subject.loaded.manifest.image
    if recipe is None:
        return
    if not recipe.base_lock.is_file():
        yield Finding("image.recipe", subject.where("image.recipe"), f"its base is not locked: no {recipe.base_lock}")
        return
    if lock is None or subject.locked() is None:
        return
    image = find_image(recipe, lock, store=store)
    if image is None:
        return
    for key, pinned, now in (
        ("image.manifest_digest", pins.manifest_digest, image.manifest_digest),
        ("image.config_digest", pins.config_digest, image.config_digest),
    ):
        if pinned not in {None, now}:
            yield Finding(key, subject.where(key), f"stale: the locks make the image {now}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
