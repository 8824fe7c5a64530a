"""Locking: part by part, everything that is loose or stale is found out; then lock and manifest are written.

Nothing is written before all of it is known, each file appears whole, the manifest last: whoever is interrupted has the
old manifest, and what was fetched and assembled is in the store for the next time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.sources.clients import without_credentials
from repro_tui.artifacts.store import Store
from repro_tui.authoring.locking.image import Progress, see
from repro_tui.authoring.locking.resolving import Upgrade, differences, lock_text, resolve
from repro_tui.authoring.locking.stale import PARTS, Subject, changed_artifacts, changed_listings, lock_findings
from repro_tui.errors import InfrastructureError, ManifestError, ReproError, UsageError, from_os_error
from repro_tui.files import write_whole
from repro_tui.images.assemble import find_image
from repro_tui.images.base_lock import lock_text as base_lock_text
from repro_tui.images.base_lock import resolve_base
from repro_tui.images.locks import LockedWheel, read_lock
from repro_tui.images.pulled import find_pulled
from repro_tui.images.recipe import Recipe, find_lock
from repro_tui.images.registry.tags import digest_of_tag
from repro_tui.manifest.code import builtin_code_digest
from repro_tui.manifest.editing import Document
from repro_tui.manifest.loading import load_loose, read_toml
from repro_tui.manifest.loose import DEFAULT_BRANCHES, is_tag
from repro_tui.manifest.models import GitSource, HubSource, Manifest, Source
from repro_tui.manifest.paths import lookup
from repro_tui.manifest.problems import Problem
from repro_tui.pipeline.plan import Options

Tell = tuple[Callable[[str], None], Progress]
"""Whom to tell what is done, and how far it is."""

LATER = "(found out when it is locked)"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for."""

    parts: tuple[str, ...] = PARTS
    upgrade: Upgrade = field(default_factory=Upgrade)
    offline: bool = False
    dry_run: bool = False
    engine: str | None = None
    mirrors: tuple[Path, ...] = ()
    debian_mirror: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One key, or one package of the lock, that is another than before; `old` None where there was nothing."""

    key: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Locked:
    """What locking came to."""

    changes: tuple[Change, ...]
    packages: tuple[str, ...]
    """How the dependency lock differs from the one before, a line a package."""
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    """Files that were written, or would be."""


def open_subject(path: Path) -> Subject:
    """Return a manifest that may be loose; raises ManifestError for every problem that locking does not solve."""
    loaded, loose = load_loose(path)
    read = read_toml(path)
    if isinstance(read, Problem):
        raise ManifestError(read.found, where=str(path))
    return Subject(loaded, read[2], tuple(loose))


def lock(path: Path, wishes: Wishes, store: Store, *, notify: Callable[[str], None], progress: Progress) -> Locked:
    """Lock a manifest and return what changed; with `dry_run` nothing is written, and nothing big is made.

    Raises ManifestError (the manifest, its requirements), UsageError, ArtifactUnavailableError, InfrastructureError.
    """
    with tempfile.TemporaryDirectory(prefix="repro-tui-lock-") as folder:
        work = _Locking(path, wishes, store, Path(folder), (notify, progress))
        for part in PARTS:
            if part in wishes.parts:
                getattr(work, part)()
        return work.finish()


class _Locking:
    def __init__(self, path: Path, wishes: Wishes, store: Store, scratch: Path, tell: Tell) -> None:
        self.subject = open_subject(path)
        self.document = Document.load(path)
        self.wishes, self.store, self.scratch = wishes, store, scratch
        self.notify, self.progress = tell
        self.changes: list[Change] = []
        self.packages: list[str] = []
        self.notes: list[str] = []
        self.pending: list[tuple[Path, str]] = []
        self.lock_file: Path | None = self.subject.lock
        """The lock that the image is made from: that of the manifest, or the new one in scratch."""
        self.dependencies_changed = False
        if not wishes.dry_run:
            self.document.check_writable()
            _check_folder(path.absolute().parent)
            if self.subject.lock is not None:
                _check_folder(self.subject.lock.parent)

    # --- the parts ----------------------------------------------------------------------------------------------------

    def dependencies(self) -> None:
        subject, upgrade = self.subject, self.wishes.upgrade
        name, file = subject.lock_name, subject.lock
        if name is None or file is None:
            if upgrade:
                raise UsageError(
                    "there is nothing to upgrade: the manifest names no requirements",
                    where=subject.where("environment"), hint='environment.requirements = "requirements.txt"',
                )  # fmt: skip
            return
        requirements = subject.requirements
        if upgrade and requirements is not None and requirements.is_lock:
            raise UsageError(
                f"{requirements.path.name} is a lock itself, and is taken as it is", where="--upgrade",
                hint="renew it with the tool that made it (`uv lock --upgrade`), then lock again",
            )  # fmt: skip
        there = file.is_file()
        why = lock_findings(subject) if there else []
        if requirements is not None and (not there or why or upgrade):
            old = subject.locked() or ()
            self.notes += requirements.notes
            self.notify(
                f"resolving {requirements.path.name} for {subject.target.platform}, Python {subject.target.python}"
            )
            new = resolve(
                requirements, subject.target, old=old or self._shipped(), upgrade=upgrade, offline=self.wishes.offline
            )
            text = lock_text(new, requirements, subject.target)
            if not there or file.read_text(encoding="utf-8") != text:
                self.pending.append((file, text))
                self.packages += differences(old, new)
                self.lock_file = self.scratch / "lock.txt"
                self.lock_file.write_text(text, encoding="utf-8")
        elif upgrade:
            raise UsageError(
                "there is nothing to upgrade: the manifest names no requirements that its lock is made from",
                where=subject.where("environment.lock"), hint='environment.requirements = "requirements.txt"',
            )  # fmt: skip
        if self.lock_file is None or not self.lock_file.is_file():
            raise ManifestError(
                f"the dependency lock {name} is not there", where=subject.where("environment.lock"),
                hint="name the file that it is to be made from in environment.requirements",
            )  # fmt: skip
        self._set("environment.lock", name)
        before = len(self.changes)
        self._set("environment.lock_sha256", hashlib.sha256(self.lock_file.read_bytes()).hexdigest())
        self.dependencies_changed = len(self.changes) > before

    def image(self) -> None:
        subject = self.subject
        pins = subject.loaded.manifest.image
        tag = self.document.get("image.reference")
        if is_tag(tag):
            if self.wishes.offline:
                raise InfrastructureError(
                    f"offline nobody can be asked what {tag} is now", where=subject.where("image.reference"),
                    hint="write the image by digest, or lock without --offline",
                )  # fmt: skip
            self.notify(f"asking what {tag} is now")
            self._set("image.reference", f"{tag}@{digest_of_tag(tag)}")
        recipe = subject.recipe
        if recipe is None:
            return
        self._base(recipe)
        keys = ("manifest_digest", "config_digest")
        loose = any(self.document.get(f"image.{key}") is None for key in keys)
        known = self._in_store(recipe)
        if not loose and not self.dependencies_changed and not known:
            return
        if self.wishes.dry_run and not known:
            for key in keys:
                self.changes.append(Change(f"image.{key}", self.document.get(f"image.{key}"), LATER))
            return
        seen = see(
            subject.loaded, self._manifest(), self._options(), self.store, probe=False, notify=self.notify,
            progress=self.progress,
        )  # fmt: skip
        if pins.reference is None:
            self._set("image.manifest_digest", seen.image.manifest_digest)
            self._set("image.config_digest", seen.image.config_digest)

    def artifacts(self) -> None:
        subject = self.subject
        artifacts = subject.loaded.manifest.artifacts
        changed = {index: now for index, _, now in changed_artifacts(subject) if not isinstance(now, Exception)}
        loose = {each.path[1] for each in subject.loose if each.path[0] == "artifacts"}
        listed = {index for index, _, _ in changed_listings(subject)}
        if not loose and not changed and not listed:
            return
        fetcher = Fetcher(
            self.store, list(self.wishes.mirrors), base=subject.loaded.path.absolute().parent,
            offline=self.wishes.offline, debian_mirror=self.wishes.debian_mirror, notify=self.notify,
            progress=self.progress,
        )  # fmt: skip
        for index, artifact in enumerate(artifacts):
            if index not in loose | listed and index not in changed:
                continue
            sources = [self._at_commit(index, place, source, fetcher) for place, source in enumerate(artifact.sources)]
            now = changed.get(index) or fetcher.measure(artifact.name, sources, artifact.listing)
            keys = {key: subject.key(("artifacts", index, key)) for key in ("sha256", "tree_sha256", "bytes")}
            right, wrong = ("tree_sha256", "sha256") if now.is_folder else ("sha256", "tree_sha256")
            pinned = self.document.get(keys[right])
            if index in loose and pinned not in {None, now.sha256}:
                raise ManifestError(
                    f"{artifact.name} is pinned with {pinned}, and {now.source} has {now.sha256}",
                    where=subject.where(keys[right]), hint="one of the two is wrong: take the pin away to have it made",
                )  # fmt: skip
            if self.document.remove(keys[wrong]):
                self.notes.append(f"{artifact.name} is a {'folder' if now.is_folder else 'file'} now")
            self._set(keys[right], now.sha256)
            self._set(keys["bytes"], now.bytes)

    def code(self) -> None:
        for stage in self.subject.loaded.manifest.every_stage:
            if stage.task.name is not None:
                self._set(stage.key("task", "code_sha256"), builtin_code_digest(stage.task.name))

    def environment(self) -> None:
        """Pin the hash where it is missing or what it depends on was changed; look at an image that is there anyway."""
        pinned = self.document.get("environment.hash")
        changed = any(change.key.startswith(("environment.lock_sha256", "image.")) for change in self.changes)
        known = self._known()
        asked = self.wishes.parts == ("environment",)
        if pinned is not None and not changed and not known and not asked:
            return
        if self.wishes.dry_run:
            if pinned is None or changed:
                self.changes.append(Change("environment.hash", pinned, LATER))
            return
        self.notify("looking at the environment from inside")
        seen = see(
            self.subject.loaded, self._manifest(), self._options(), self.store, probe=True, notify=self.notify,
            progress=self.progress,
        )  # fmt: skip
        self._set("environment.hash", seen.environment_hash)

    # --- the end ------------------------------------------------------------------------------------------------------

    def finish(self) -> Locked:
        """Write what is new, the manifest last, and return what changed."""
        if self.changes and self.document.get("recorded") is not None:
            self.notes.append("what was recorded and expected is of the former pins: `repro-tui record` makes it anew")
        files = [file for file, _ in self.pending]
        if self.document.changed:
            files.append(self.document.path)
        if not self.wishes.dry_run:
            for file, text in self.pending:
                _write(file, text)
            self.document.save()
        return Locked(tuple(self.changes), tuple(self.packages), tuple(dict.fromkeys(self.notes)), tuple(files))

    # --- how ----------------------------------------------------------------------------------------------------------

    def _set(self, key: str, value: Any) -> None:
        old = self.document.get(key)
        if old != value:
            self.document.set(key, value)
            self.changes.append(Change(key, old, value))

    def _at_commit(self, index: int, place: int, source: Source, fetcher: Fetcher) -> Source:
        """Return a source with the commit that its branch or tag is now, pinned; any other as it is."""
        key = {"git": "commit", "hub": "revision"}.get(source.type)
        path = ("artifacts", index, "sources", place, key or "")
        if not any(each.path == path for each in self.subject.loose) or not isinstance(source, GitSource | HubSource):
            return source
        name = lookup(self.subject.data, path) or DEFAULT_BRANCHES[str(path[-1])]
        of = without_credentials(source.url) if isinstance(source, GitSource) else source.repository
        self.notify(f"asking what {name} of {of} is now")
        commit = fetcher.commit(source, name)
        self._set(self.subject.key(path), commit)
        return source.model_copy(update={str(path[-1]): commit})

    def _base(self, recipe: Recipe) -> None:
        if recipe.base_lock.is_file():
            return
        if self.wishes.offline or self.wishes.dry_run:
            if self.wishes.dry_run:
                self.pending.append((recipe.base_lock, ""))
                return
            raise InfrastructureError(
                "the base of the image is not locked, and resolving it needs a Debian mirror",
                where=str(recipe.base_lock), hint="lock without --offline",
            )  # fmt: skip
        self.notify(f"resolving the Debian packages of {recipe.name}")
        state = self.scratch / "apt"
        state.mkdir()
        _check_folder(recipe.base_lock.parent)
        _write(recipe.base_lock, base_lock_text(recipe, resolve_base(recipe, state)))
        self.notes.append(f"{recipe.base_lock} was made")

    def _shipped(self) -> tuple[LockedWheel, ...]:
        """Return the lock that a shipped recipe comes with: its versions are preferred, so that layers are shared."""
        recipe = self.subject.recipe
        if recipe is None:
            return ()
        try:
            return read_lock(find_lock(recipe.name), platform=recipe.platform, python=recipe.python)
        except ManifestError:
            return ()

    def _in_store(self, recipe: Recipe) -> bool:
        if self.lock_file is None or not self.lock_file.is_file() or not recipe.base_lock.is_file():
            return False
        return find_image(recipe, self.lock_file, store=self.store) is not None

    def _known(self) -> bool:
        """Whether the image is in the store, so that looking at it takes seconds."""
        recipe = self.subject.recipe
        if recipe is not None:
            return self._in_store(recipe)
        reference = self.document.get("image.reference")
        if not isinstance(reference, str) or is_tag(reference):
            return False
        try:
            return find_pulled(reference, self.subject.loaded.manifest.image.platform, store=self.store) is not None
        except ReproError:
            return False

    def _manifest(self) -> Manifest:
        """Return the manifest with what is known by now; its lock is the new one, wherever that is yet."""
        manifest = self.subject.loaded.manifest
        image = manifest.image.model_copy(
            update={"reference": self.document.get("image.reference"), "manifest_digest": None, "config_digest": None}
        )
        changed: dict[str, Any] = {}
        if self.lock_file is not None:
            if image.recipe is not None and not self.lock_file.is_file():
                raise ManifestError(
                    "the image is assembled from a dependency lock that is not there yet",
                    where=self.subject.where("environment"), hint="lock it too: --only dependencies,image",
                )  # fmt: skip
            changed["lock"] = str(self.lock_file)
        environment = manifest.environment.model_copy(update=changed)
        return manifest.model_copy(update={"image": image, "environment": environment})

    def _options(self) -> Options:
        experiment = self.subject.loaded.manifest.experiment
        return Options(
            manifest=str(self.subject.loaded.path.absolute()), experiment=experiment.name, title=experiment.title,
            engine=self.wishes.engine, store=str(self.store.root), mirrors=tuple(map(str, self.wishes.mirrors)),
            debian_mirror=self.wishes.debian_mirror, offline=self.wishes.offline,
        )  # fmt: skip


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ManifestError(
            "there is no such folder for the lock",
            where=str(folder),
            hint="make it, or name another in environment.lock",
        )
    if not os.access(folder, os.W_OK):
        raise InfrastructureError(
            "the folder may not be written to, and the pins belong there", where=str(folder),
            hint="lock a copy of the project, or `repro-tui lock --check` to look only",
        )  # fmt: skip


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise from_os_error(error) from error
