"""What an artifact that is not pinned yet is: fetched from its sources, hashed, kept under what it turned out to be.

Sources are tried in their order; the first that has something decides. What came is in the store afterwards, so that
the run which follows fetches nothing again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from repro_tui.artifacts.archives import ArchiveError, MemberMissingError, extract_tree, read_member
from repro_tui.artifacts.digests import TooLargeError, copy_hashed, sha256_file
from repro_tui.artifacts.distributions import OFFLINE_HINT, Distributions
from repro_tui.artifacts.listed import put_listed
from repro_tui.artifacts.packages import WheelTarget
from repro_tui.artifacts.retrieval import label
from repro_tui.artifacts.sources import git, hub, run
from repro_tui.artifacts.sources.base import Context, SourceUnavailableError
from repro_tui.artifacts.sources.download import download
from repro_tui.artifacts.store import disk_errors, make_folder
from repro_tui.errors import ArtifactUnavailableError
from repro_tui.manifest.fields import GIT_COMMIT_PATTERN
from repro_tui.manifest.folder_listing import ListedFileError, Listing
from repro_tui.manifest.models import GitSource, HttpsSource, HubSource, LocalSource, PipSource, RunSource, Source
from repro_tui.manifest.trees import chosen_files, tree_digest, tree_files

_LIMIT_BYTES = 256 << 30
_ANSWER_BYTES = 32 << 20
_NOT_KNOWN = "0" * 12
"""How a source is labelled whose commit is still to be found out."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What an artifact is: a file or a folder, with its digest and the size of its files together."""

    sha256: str
    """Of the file, or the tree digest of the folder."""
    bytes: int
    is_folder: bool
    source: str
    """In words: where it came from."""


def measure_local(base: Path, source: LocalSource, listing: Listing | None = None) -> Measured:
    """Return what a local file or folder, or what is listed of it, is.

    Raises SourceUnavailableError where there is none that can be pinned.
    """
    found = base / Path(source.path).expanduser()
    try:
        if found.is_file():
            return Measured(sha256_file(found), found.stat().st_size, is_folder=False, source=label(source))
        if found.is_dir():
            if listing is not None:
                return _measured(listing.chosen(found), listing, source)
            files = tree_files(found) if source.files is None else chosen_files(found, source.files)
            if not files:
                raise SourceUnavailableError(f"{found} is an empty folder")
            size_bytes = sum(file.stat().st_size for file in files.values())
            return Measured(tree_digest(files), size_bytes, is_folder=True, source=label(source))
    except (ValueError, ListedFileError) as error:
        raise SourceUnavailableError(str(error)) from None
    except OSError as error:
        raise SourceUnavailableError(f"{error.filename or found} cannot be read: {error.strerror}") from None
    raise SourceUnavailableError(f"{found} is not there")


def _measured(files: Mapping[str, Path], listing: Listing, source: Source) -> Measured:
    """Return what the listed files are together; raises ListedFileError for one with other bytes."""
    listing.check(files)
    size_bytes = sum(file.stat().st_size for file in files.values())
    return Measured(listing.tree_sha256, size_bytes, is_folder=True, source=label(source))


class Measuring:
    """Measures artifacts by what their sources serve."""

    def __init__(self, context: Context, distributions: Distributions, *, offline: bool, target: WheelTarget) -> None:
        self._context = context
        self._distributions = distributions
        self._offline = offline
        self._target = target

    def measure(self, name: str, sources: Sequence[Source], listing: Listing | None = None) -> Measured:
        """Return what the artifact is; raises ArtifactUnavailableError that lists every source."""
        tried: list[str] = []
        hints: list[str] = []
        for source in sources:
            try:
                with disk_errors(self._context.store.root):
                    return self._measure(source, listing)
            except (SourceUnavailableError, ArchiveError) as error:
                tried.append(f"{label(source)}: {getattr(error, 'reason', None) or getattr(error, 'message', error)}")
                hints.append(error.hint)
            except ListedFileError as error:
                place = f"{error.name} has SHA-256 {error.observed}" if error.observed else error.name
                tried.append(f"{label(source)}: {place}")
            except TooLargeError as error:
                tried.append(f"{label(source)}: {error}")
        raise ArtifactUnavailableError(
            f"the artifact {name} cannot be pinned: none of its {len(sources)} sources has it",
            tried=tried, where=f"artifacts.{name}.sources", hint=next(filter(None, hints), ""),
        )  # fmt: skip

    def commit(self, source: GitSource | HubSource, name: str) -> str:
        """Return the commit that a branch or tag is now; raises ArtifactUnavailableError where nobody says."""
        store, context = self._context.store, self._context
        try:
            self._refuse_offline()
            with disk_errors(store.root), store.scratch() as scratch:
                if isinstance(source, GitSource):
                    return git.commit_of(source.url, name, scratch, context)
                url = hub.revision_address(source.repository, source.repository_type, name, context.environ)
                answer, headers = scratch / "answer", hub.headers(context.environ)
                download(url, answer, context, text=source.repository, limit_bytes=_ANSWER_BYTES, headers=headers)
                return _sha_in(answer)
        except (SourceUnavailableError, TooLargeError) as error:
            raise ArtifactUnavailableError(
                f"nobody says which commit {name!r} is now",
                tried=[f"{label(source).replace(_NOT_KNOWN, name)}: {getattr(error, 'reason', error)}"],
                hint=getattr(error, "hint", ""),
            ) from None  # fmt: skip

    def _measure(self, source: Source, listing: Listing | None) -> Measured:
        only = None if listing is None else listing.files
        if isinstance(source, LocalSource):
            return measure_local(self._context.base, source, listing)
        if isinstance(source, RunSource):
            found = run.newest(self._context.runs, source.experiment, source.output, stage=source.stage or "")
            return Measured(sha256_file(found), found.stat().st_size, is_folder=False, source=label(source))
        store = self._context.store
        with store.scratch() as scratch:
            new = scratch / "new"
            if isinstance(source, GitSource):
                self._refuse_offline()
                repository = git.fetch_commit(source.url, source.commit, scratch, self._context)
                if source.path != "." and listing is None:
                    try:
                        git.read_blob(
                            repository, source.commit, source.path, new, self._context, limit_bytes=_LIMIT_BYTES
                        )
                        return self._kept(new, source)
                    except SourceUnavailableError:
                        if new.exists():  # a pointer to Git LFS
                            raise
                git.read_tree(
                    repository, source.commit, source.path, new, self._context, limit_bytes=_LIMIT_BYTES, only=only
                )
                return self._kept(new, source, listing)
            if isinstance(source, HubSource):
                self._refuse_offline()
                environ = self._context.environ
                url = hub.address(source.repository, source.repository_type, source.revision, source.path, environ)
                headers = hub.headers(environ)
                download(url, new, self._context, text=source.path, limit_bytes=_LIMIT_BYTES, headers=headers)
                return self._kept(new, source, listing)
            if isinstance(source, HttpsSource) and source.path is None:
                self._refuse_offline()
                download(source.url, new, self._context, text=label(source), limit_bytes=_LIMIT_BYTES)
                return self._kept(new, source, listing)
            archive = self._distributions.of_source(source, self._target)
            if source.path is None and listing is None:
                return Measured(source.sha256 or "", archive.stat().st_size, is_folder=False, source=label(source))
            below_top = isinstance(source, PipSource) and source.sdist
            if listing is None and source.path is not None:
                try:
                    with new.open("xb") as out:
                        read_member(archive, source.path, lambda stream: _copy(stream, out), below_top=below_top)
                    return self._kept(new, source)
                except MemberMissingError:
                    new.unlink()
            extract_tree(
                archive, source.path, make_folder(new), below_top=below_top, limit_bytes=_LIMIT_BYTES, only=only
            )
            return self._kept(new, source, listing)

    def _kept(self, new: Path, source: Source, listing: Listing | None = None) -> Measured:
        store = self._context.store
        if listing is not None:
            listed = listing.chosen(new)
            measured = _measured(listed, listing, source)
            put_listed(store, listed, listing, tree_sha256=measured.sha256, component=measured.source)
            return measured
        if new.is_dir():
            files = tree_files(new)
            measured = Measured(
                tree_digest(files), sum(file.stat().st_size for file in files.values()), is_folder=True,
                source=label(source),
            )  # fmt: skip
            store.put_tree(new, tree_sha256=measured.sha256, component=measured.source)
            return measured
        measured = Measured(sha256_file(new), new.stat().st_size, is_folder=False, source=label(source))
        store.put_file(new, sha256=measured.sha256, component=measured.source, move=True)
        return measured

    def _refuse_offline(self) -> None:
        if self._offline:
            raise SourceUnavailableError("offline", hint=OFFLINE_HINT)


def _sha_in(answer: Path) -> str:
    try:
        commit = json.loads(answer.read_bytes())["sha"]
    except (ValueError, KeyError, TypeError, RecursionError):
        commit = None
    if not isinstance(commit, str) or not re.fullmatch(GIT_COMMIT_PATTERN, commit):
        raise SourceUnavailableError("the hub's answer names no commit")
    return commit


def _copy(stream: IO[bytes], out: IO[bytes]) -> None:
    copy_hashed(stream, out, limit_bytes=_LIMIT_BYTES)
