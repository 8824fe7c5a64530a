"""Where the bytes of an artifact may still be: the store and mirror folders, and files beside the manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro_tui.artifacts.mirrors import Mirror
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.manifest.models import LocalSource
from repro_tui.manifest.trees import chosen_files, tree_digest, tree_files
from repro_tui.report.explain.files import Clock, Tree, sha256

_FILES = 20_000
_BYTES = 4 << 30
"""A folder with more in it is not compared."""


@dataclass(frozen=True, slots=True)
class Places:
    """Looks, and takes nothing for what is pinned that has not its digest. A store is a mirror too."""

    mirrors: tuple[Mirror, ...] = ()
    loaded: LoadedManifest | None = None

    @classmethod
    def of(cls, folders: Sequence[Path], loaded: LoadedManifest | None) -> Places:
        """Return the places in some folders, and those that a manifest names beside itself."""
        return cls(tuple(Mirror(folder) for folder in dict.fromkeys(folders)), loaded)

    def find(self, name: str, pin: Mapping[str, Any], clock: Clock) -> Tree | None:
        """Return the files of an artifact by its pins, None where they are not here; raises TooLongError."""
        digest, tree = pin.get("sha256"), pin.get("tree_sha256")
        for candidate in self._files(name, digest) if isinstance(digest, str) else ():
            try:
                if sha256(candidate, clock) == digest:
                    return {"": candidate}
            except OSError:
                continue
        for found in self._trees(name, tree) if isinstance(tree, str) else ():
            clock.check()
            try:
                if found is not None and tree_digest(found) == tree:
                    return found
            except (OSError, ValueError):
                continue
        return None

    def _files(self, name: str, digest: str) -> Iterator[Path]:
        for mirror in self.mirrors:
            try:
                yield from mirror.files(digest)
            except OSError:
                continue
        for path, _ in self._local(name):
            yield path

    def _trees(self, name: str, digest: str) -> Iterator[Tree | None]:
        for mirror in self.mirrors:
            try:
                folder = mirror.tree(digest)
            except OSError:
                continue
            if folder is not None:
                yield plain_tree(folder)
        for path, chosen in self._local(name):
            yield plain_tree(path, chosen)

    def _local(self, name: str) -> Iterator[tuple[Path, Sequence[str] | None]]:
        if self.loaded is None:
            return
        for artifact in self.loaded.manifest.artifacts:
            for source in artifact.sources:
                if artifact.name == name and isinstance(source, LocalSource):
                    yield self.loaded.resolve(source.path), source.files


def plain_tree(folder: Path, chosen: Sequence[str] | None = None) -> Tree | None:
    """Return the files of a folder, None where it holds anything but files and folders, or too much."""
    try:
        if folder.is_symlink() or not folder.is_dir():
            return None
        if chosen is not None:
            return chosen_files(folder, chosen)
        if _too_much(folder):
            return None
        return tree_files(folder)
    except (OSError, ValueError):
        return None


def _too_much(folder: Path) -> bool:
    count = total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            count += 1
            total += os.lstat(os.path.join(parent, name)).st_size
            if count > _FILES or total > _BYTES:
                return True
    return False
