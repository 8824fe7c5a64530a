"""Opens a bundle: every byte checked while it is unpacked into the store, then used like any manifest's folder.

    derived/bundles/<digest of the index>/    the members as they are named; `blobs` and `trees` make it a mirror folder

Blobs enter the store as hard links under the digest that was just taken, so nothing is copied or hashed again for it.
The bundle is read whole each time it is opened, also where the store has its content: a changed one is always refused.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from repro_tui.artifacts.digests import sha256_file
from repro_tui.artifacts.sources.base import Progress
from repro_tui.artifacts.store import Store, disk_errors, make_folder, remove_tree
from repro_tui.bundles import reading, recorded
from repro_tui.bundles.index import NAME, Index, LeftOut, Member, refused, shown
from repro_tui.errors import ManifestError, StoreFullError
from repro_tui.manifest.code import builtin_code_digest
from repro_tui.manifest.loading import LoadedManifest, load
from repro_tui.manifest.models import Manifest
from repro_tui.manifest.trees import tree_files
from repro_tui.pipeline import origin
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.words import size

_SPARE_BYTES = 64 << 20
_BLOCK_BYTES = 4096
"""What a file system takes for a file or a folder at least, besides its content."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was opened: a folder of the store whose every file is what the index says."""

    path: Path
    folder: Path
    index: Index
    loaded: LoadedManifest
    sha256: str
    """Of the file."""

    @property
    def manifest(self) -> Path:
        """The manifest."""
        return self.folder / self.index.manifest.path

    @property
    def run(self) -> RunDirectory | None:
        """The recorded run, where there is one."""
        folder = self.folder / "run"
        return RunDirectory(folder) if self.index.member("run/report.json") else None

    @property
    def mirrors(self) -> tuple[Path, ...]:
        """The folders that serve what is pinned, by digest."""
        return tuple(folder for folder in (self.folder, self.folder / "image") if folder.is_dir())

    def lacks(self, store: Store) -> list[LeftOut]:
        """Return what was left out of the bundle and is not in the store."""
        return [
            each
            for each in self.index.left_out
            if not (store.has_blob(each.sha256) if each.sha256 else store.has_tree(each.tree_sha256 or ""))
        ]


def open_bundle(path: Path, store: Store, *, progress: Progress = lambda _done, _total, _text: None) -> Bundle:
    """Check a bundle whole and return it, unpacked; raises BundleError where anything is not as its index says.

    Raises StoreFullError before anything is written where the store's disk has no room for it.
    """
    path = path.absolute()
    with disk_errors(store.root), reading.opened(path) as bundle, store.lock(f"bundle-{bundle.sha256}"):
        folder = store.folder(origin.KIND, bundle.sha256)
        if folder.is_dir() and not _whole(folder, bundle.index):
            remove_tree(folder)
        if folder.is_dir():
            _read_through(bundle, None, progress)
        else:
            _unpack(bundle, store, progress)
        _enter(bundle.index, folder, store)
        origin.note(folder, path.name, bundle.file_sha256)
    return Bundle(path, folder, bundle.index, _load(path, folder, bundle.index), bundle.file_sha256)


def unpack(path: Path, target: Path, *, progress: Progress = lambda _done, _total, _text: None) -> Index:
    """Write the members of a bundle below a new folder, checked; raises BundleError, and nothing is left then."""
    target = target.absolute()
    with reading.opened(path) as bundle:
        _check_space(bundle, make_folder(target.parent))
        target.mkdir()
        try:
            _read_through(bundle, target, progress)
            (target / NAME).write_bytes(bundle.content)
        except BaseException:
            remove_tree(target)
            raise
        return bundle.index


def _unpack(bundle: reading.Opened, store: Store, progress: Progress) -> None:
    with store.scratch() as scratch:
        _check_space(bundle, scratch)
        new = make_folder(scratch / "bundle")
        _read_through(bundle, new, progress)
        store.publish(new, origin.KIND, bundle.sha256)


def _read_through(bundle: reading.Opened, target: Path | None, progress: Progress) -> None:
    """Check every byte; write it too where there is a target, whose folders are all made here and hold no link."""
    done, total = 0, bundle.index.size_bytes
    for member, chunks in reading.members(bundle):
        descriptor = -1
        if target is not None:
            file = target / member.path
            make_folder(file.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(file, flags, 0o600)
        try:
            for chunk in chunks:
                view = memoryview(chunk)
                while target is not None and view:
                    view = view[os.write(descriptor, view) :]
                done += len(chunk)
                progress(done, total, f"checking {bundle.path.name}")
            if target is not None:
                os.fchmod(descriptor, 0o555 if member.executable else 0o444)
        finally:
            if descriptor >= 0:
                os.close(descriptor)


def _check_space(bundle: reading.Opened, folder: Path) -> None:
    files = [member.path for member in bundle.index.files]
    entries = len(files) + len({parent for path in files for parent in PurePosixPath(path).parents})
    needed, free = bundle.index.size_bytes + entries * _BLOCK_BYTES + _SPARE_BYTES, shutil.disk_usage(folder).free
    if free < needed:
        raise StoreFullError(
            f"opening {bundle.path.name} needs {size(needed)}, {size(free)} are free",
            where=str(folder),
            hint="free some space, shrink the store with `repro-tui prune`, or name another with --store",
        )


def _whole(folder: Path, index: Index) -> bool:
    """Say whether an opened bundle is as it was, every byte of it, and nothing else lies beside it."""
    try:
        files = tree_files(folder)
        files.pop(origin.NOTE, None)
        return files.keys() == {member.path for member in index.files} and all(
            files[member.path].stat().st_size == member.bytes
            and bool(files[member.path].stat().st_mode & 0o100) == member.executable
            and sha256_file(files[member.path]) == member.sha256
            for member in index.files
        )
    except (OSError, ValueError):
        return False


def _enter(index: Index, folder: Path, store: Store) -> None:
    """Let the store have the blobs, by a second name of the same file."""
    with store.scratch() as scratch:
        for member in index.files:
            if not _is_blob(member) or store.has_blob(member.sha256):
                continue
            link = scratch / member.sha256
            with suppress(OSError):  # a file system without hard links: the folder still is a mirror
                os.link(folder / member.path, link)
                store.put_file(
                    link, sha256=member.sha256, component=member.name or member.path, move=True, observed=member.sha256
                )


def _is_blob(member: Member) -> bool:
    """Say whether the store keeps a member by its digest; one that is executable there is not of the same mode."""
    return member.path.startswith(("blobs/", "image/blobs/")) and not member.executable


def _load(path: Path, folder: Path, index: Index) -> LoadedManifest:
    """Return the manifest; raises BundleError where it leads out of the bundle, or the recorded run is not of it."""
    name = index.manifest.path
    try:
        loaded = load(folder / name)
    except ManifestError as error:
        problems = "; ".join(line.strip() for line in "\n".join(error.problems).splitlines() if line.strip())
        raise refused(path, name, f"it is no manifest that can be run: {problems.replace(str(folder), '')}") from None
    manifest = loaded.manifest
    if manifest.experiment.name != index.experiment:
        raise refused(path, NAME, f"it is of {shown(index.experiment)}, its manifest of {manifest.experiment.name}")
    if manifest.image.dockerfile is not None:
        raise refused(path, name, "it has an engine of this host build a Dockerfile, which no bundle may")
    named = [manifest.environment.lock, manifest.recorded.file if manifest.recorded else None]
    named += [artifact.listing for artifact in manifest.artifacts]
    for relative in (name for name in named if name is not None):
        inside = Path(os.path.normpath(loaded.resolve(relative)))
        if not inside.is_relative_to(folder) or index.member(inside.relative_to(folder).as_posix()) is None:
            raise refused(path, name, f"it names {shown(relative)}, which is no member of the bundle")
    loaded = replace(loaded, task_code=_code(folder / "trees", manifest))
    if index.member("run/report.json") is not None:
        fault = recorded.inconsistency(RunDirectory(folder / "run"), loaded)
        if fault is not None:
            raise refused(path, *fault)
    return loaded


def _code(trees: Path, manifest: Manifest) -> dict[str, Path]:
    """Return the pinned code of the tasks of which this version has another, as far as the bundle holds it."""
    tasks = [stage.task for stage in manifest.every_stage if stage.task.name is not None]
    pinned = {
        str(task.code_sha256): trees / (task.code_sha256 or "none")
        for task in tasks
        if task.code_sha256 != builtin_code_digest(task.name or "")
    }
    return {digest: folder for digest, folder in pinned.items() if folder.is_dir()}
