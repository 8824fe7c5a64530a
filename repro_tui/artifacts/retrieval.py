"""One artifact at a time: walks its sources, takes it out of what they bring, and checks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from repro_tui.artifacts.archives import ArchiveError, extract_tree, read_member
from repro_tui.artifacts.digests import TooLargeError
from repro_tui.artifacts.distributions import MIRROR_HINT, OFFLINE_HINT, Distributions
from repro_tui.artifacts.listed import held_files, listing_of, put_listed
from repro_tui.artifacts.mirrors import Mirror
from repro_tui.artifacts.packages import WheelTarget
from repro_tui.artifacts.sources import git, hub, local, run
from repro_tui.artifacts.sources.base import Context, SourceUnavailableError
from repro_tui.artifacts.sources.clients import without_credentials
from repro_tui.artifacts.sources.download import shown
from repro_tui.artifacts.store import disk_errors, make_folder
from repro_tui.errors import ArtifactUnavailableError, DriftError
from repro_tui.manifest.folder_listing import ListedFileError, Listing
from repro_tui.manifest.models import (
    AptSource,
    Artifact,
    GitSource,
    HttpsSource,
    HubSource,
    LocalSource,
    NpmSource,
    PipSource,
    RunSource,
    Source,
)
from repro_tui.manifest.trees import chosen_files, tree_files

_SLACK_BYTES = 1 << 20
_UNMEASURED_BYTES = 256 << 30

_ArchiveSource = PipSource | AptSource | NpmSource | HttpsSource


class Retrieval:
    """Finds artifacts; every path returned is checked content of the store."""

    def __init__(
        self,
        context: Context,
        distributions: Distributions,
        mirrors: Sequence[Mirror],
        *,
        offline: bool,
        target: WheelTarget,
    ) -> None:
        self._context = context
        self._store = context.store
        self._distributions = distributions
        self._mirrors = mirrors
        self._offline = offline
        self._target = target

    def artifact(self, artifact: Artifact) -> Path:
        """Return the artifact; see Fetcher.artifact."""
        with disk_errors(self._store.root):
            found = self._stored(artifact)
            if found is None:
                with self._store.lock(f"artifact-{artifact.sha256 or artifact.tree_sha256}"):
                    found = self._stored(artifact) or self._mirrored(artifact) or self._from_sources(artifact)
            _check_size(artifact, found)
            return found

    def _stored(self, artifact: Artifact) -> Path | None:
        if artifact.tree_sha256 is not None:
            return self._store.tree(artifact.tree_sha256)
        return self._store.blob(artifact.sha256 or "")

    def _mirrored(self, artifact: Artifact) -> Path | None:
        if artifact.tree_sha256 is None:
            return self._distributions.held(artifact.sha256 or "", artifact.name)
        return self._mirrored_tree(artifact.tree_sha256, artifact.name) or self._mirrored_files(artifact)

    def held_tree(self, tree_sha256: str, component: str) -> Path | None:
        """Return a folder that the store or a mirror has; see Fetcher.held_tree."""
        with disk_errors(self._store.root), self._store.lock(f"artifact-{tree_sha256}"):
            return self._store.tree(tree_sha256) or self._mirrored_tree(tree_sha256, component)

    def _mirrored_tree(self, tree_sha256: str, component: str) -> Path | None:
        for mirror in self._mirrors:
            if folder := mirror.tree(tree_sha256):
                return self._store.put_tree(folder, tree_sha256=tree_sha256, component=component)
        return None

    def _mirrored_files(self, artifact: Artifact) -> Path | None:
        """Return a listed folder where store and mirrors have every file of it, by its own digest."""
        listing = listing_of(artifact, self._context.base)
        if listing is None:
            return None
        files, missing = held_files(listing, self._store, self._mirrors)
        return None if missing else self._put_listed(artifact, files, listing)

    def _put_listed(self, artifact: Artifact, files: Mapping[str, Path], listing: Listing, where: str = "") -> Path:
        return put_listed(
            self._store, files, listing,
            tree_sha256=artifact.tree_sha256 or "", component=artifact.name, where=where,
        )  # fmt: skip

    def _from_sources(self, artifact: Artifact) -> Path:
        tried = self._distributions.looked_in()
        listing = listing_of(artifact, self._context.base)
        if listing is not None:
            tried.append(f"file by file: it {listing.lacking(held_files(listing, self._store, self._mirrors)[1])}")
        hints: list[str] = []
        for source in artifact.sources:
            # An archive that is here already is better than any source that must be asked.
            if (archive := self._held_archive(source)) is not None:
                try:
                    return self._out_of_archive(artifact, source, archive)
                except SourceUnavailableError as error:
                    tried.append(f"{label(source)}: {error.reason}")
        for source in artifact.sources:
            try:
                return self._from_source(artifact, source)
            except SourceUnavailableError as error:
                tried.append(f"{label(source)}: {error.reason}")
                hints.append(error.hint)
        hint = next((hint for hint in hints if hint), OFFLINE_HINT if self._offline else MIRROR_HINT)
        raise ArtifactUnavailableError(
            f"the artifact {artifact.name} is not to be had from any of its {len(artifact.sources)} sources",
            tried=list(dict.fromkeys(tried)),
            where=f"artifacts.{artifact.name}",
            hint=hint,
        )

    def _held_archive(self, source: Source) -> Path | None:
        if isinstance(source, _ArchiveSource) and source.sha256 is not None and _is_archive(source):
            return self._distributions.held(source.sha256, label(source))
        return None

    def _from_source(self, artifact: Artifact, source: Source) -> Path:
        if isinstance(source, LocalSource):
            return self._from_local(artifact, source)
        if isinstance(source, RunSource):
            return self._from_run(artifact, source)
        if self._offline and self._held_archive(source) is None:
            raise SourceUnavailableError("offline", hint=OFFLINE_HINT)
        if isinstance(source, GitSource):
            return self._from_git(artifact, source)
        if isinstance(source, HubSource):
            environ = self._context.environ
            url = hub.address(source.repository, source.repository_type, source.revision, source.path, environ)
            return self._download(artifact, url, hub.headers(environ))
        if isinstance(source, HttpsSource) and not _is_archive(source):
            return self._download(artifact, source.url, {})
        archive = self._distributions.of_source(source, self._target)
        return self._out_of_archive(artifact, source, archive)

    # --- each kind ----------------------------------------------------------------------------------------------------

    def _download(self, artifact: Artifact, url: str, headers: dict[str, str]) -> Path:
        if artifact.sha256 is None:
            raise SourceUnavailableError("gives one file, and a folder is pinned")
        return self._distributions.download_url(
            url, artifact.sha256, artifact.name, limit_bytes=_limit_bytes(artifact), headers=headers
        )

    def _from_local(self, artifact: Artifact, source: LocalSource) -> Path:
        if not self._context.local:
            raise SourceUnavailableError("a place on the machine of the bundle's author", hint=MIRROR_HINT)
        found = local.find(self._context.base, source.path, folder=artifact.tree_sha256 is not None)
        if artifact.tree_sha256 is None:
            return self._store.put_file(found, sha256=artifact.sha256 or "", component=artifact.name)
        return self._put_tree(artifact, found, where=str(found), chosen=source.files)

    def _from_run(self, artifact: Artifact, source: RunSource) -> Path:
        if artifact.sha256 is None:
            raise SourceUnavailableError("an output is a file, and a folder is pinned")
        found = run.find(
            self._context.runs, source.experiment, source.output,
            stage=source.stage or "", sha256=artifact.sha256, size_bytes=artifact.bytes,
        )  # fmt: skip
        return self._store.put_file(found, sha256=artifact.sha256, component=artifact.name, where=label(source))

    def _from_git(self, artifact: Artifact, source: GitSource) -> Path:
        limit_bytes, listing = _limit_bytes(artifact), listing_of(artifact, self._context.base)
        with self._store.scratch() as scratch:
            repository = git.fetch_commit(source.url, source.commit, scratch, self._context)
            new = scratch / "new"
            try:
                if artifact.tree_sha256 is not None:
                    git.read_tree(
                        repository, source.commit, source.path, new, self._context, limit_bytes=limit_bytes,
                        only=None if listing is None else listing.files,
                    )  # fmt: skip
                    return self._put_tree(artifact, new, where=label(source))
                git.read_blob(repository, source.commit, source.path, new, self._context, limit_bytes=limit_bytes)
            except TooLargeError as error:
                raise _too_large(artifact, source) from error
            return self._store.put_file(
                new, sha256=artifact.sha256 or "", component=artifact.name, where=label(source), move=True
            )

    def _out_of_archive(self, artifact: Artifact, source: Source, archive: Path) -> Path:
        """Take the artifact out of a checked archive; one without `path` is the archive itself, unpacked for a tree."""
        path = getattr(source, "path", None)
        # Source distributions have one top folder, named by their version; `path` starts below it.
        below_top = isinstance(source, PipSource) and source.sdist
        limit_bytes = _limit_bytes(artifact)
        try:
            if artifact.tree_sha256 is not None:
                with self._store.scratch() as scratch:
                    new = make_folder(scratch / "new")
                    listing = listing_of(artifact, self._context.base)
                    extract_tree(
                        archive,
                        path,
                        new,
                        below_top=below_top,
                        limit_bytes=limit_bytes,
                        only=None if listing is None else listing.files,
                    )
                    return self._put_tree(artifact, new, where=label(source))
            if path is None and getattr(source, "sha256", None) == artifact.sha256:
                return archive
            if path is None:
                return self._store.put_file(
                    archive, sha256=artifact.sha256 or "", component=artifact.name, where=label(source)
                )
            kept: list[Path] = []

            def keep(stream: IO[bytes]) -> None:
                kept.append(
                    self._store.put_stream(
                        stream,
                        sha256=artifact.sha256 or "",
                        component=artifact.name,
                        where=label(source),
                        limit_bytes=limit_bytes,
                    )
                )

            read_member(archive, path, keep, below_top=below_top, limit_bytes=limit_bytes)
            return kept[0]
        except TooLargeError as error:
            raise _too_large(artifact, source) from error
        except ArchiveError as error:
            raise SourceUnavailableError(error.message, hint=error.hint) from error

    def _put_tree(self, artifact: Artifact, folder: Path, *, where: str, chosen: Sequence[str] | None = None) -> Path:
        listing = listing_of(artifact, self._context.base)
        try:
            if listing is not None:
                return self._put_listed(artifact, listing.chosen(folder), listing, where)
            files = None if chosen is None else chosen_files(folder, chosen)
            return self._store.put_tree(
                folder, tree_sha256=artifact.tree_sha256 or "", component=artifact.name, where=where, files=files
            )
        except (ValueError, ListedFileError) as error:
            raise SourceUnavailableError(str(error)) from error


def label(source: Source) -> str:
    """Return a source as errors name it: its kind, what is asked for, and what of it; no credentials."""
    if isinstance(source, LocalSource):
        return f"local {source.path}"
    if isinstance(source, RunSource):
        return f"run of {source.experiment}, {source.output}" + (f" of {source.stage}" if source.stage else "")
    if isinstance(source, HubSource):
        text = f"hub {source.repository} at {source.revision[:12]}"
    elif isinstance(source, GitSource):
        text = f"git {without_credentials(source.url)} at {source.commit[:12]}"
    elif isinstance(source, HttpsSource):
        text = shown(source.url)
    else:
        text = f"{source.type} {source.package} {source.version}"
    return f"{text}, {source.path}" if source.path else text


def _is_archive(source: _ArchiveSource) -> bool:
    return not isinstance(source, HttpsSource) or source.sha256 is not None


def _limit_bytes(artifact: Artifact) -> int:
    """Return how much is read before it is clear that this is another file: enough to name its digest as a rule."""
    if _is_unmeasured(artifact):
        return _UNMEASURED_BYTES
    return 2 * artifact.bytes + _SLACK_BYTES


def _too_large(artifact: Artifact, source: Source) -> DriftError:
    return DriftError(
        f"{artifact.name} has {artifact.bytes} bytes by its pin, and {label(source)} has far more",
        component=artifact.name,
        where=f"artifacts.{artifact.name}",
        hint="check which file was pinned",
    )


def _is_unmeasured(artifact: Artifact) -> bool:
    """Tell whether nobody knows the size of a folder whose files are listed: their digests say enough."""
    return artifact.listing is not None and artifact.bytes == 0


def _check_size(artifact: Artifact, path: Path) -> None:
    if _is_unmeasured(artifact):
        return
    files = tree_files(path).values() if path.is_dir() else (path,)
    observed = sum(file.stat().st_size for file in files)
    if observed != artifact.bytes:
        raise DriftError(
            f"{artifact.name} has {observed} bytes, the manifest says {artifact.bytes} (its SHA-256 is the pinned one)",
            component=artifact.name,
            where=f"artifacts.{artifact.name}.bytes",
            hint=f"bytes = {observed}",
        )
