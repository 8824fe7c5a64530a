"""Folders whose files a listing names: put together from store and mirrors, or picked out of what a source brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from repro_tui.artifacts.mirrors import Mirror
from repro_tui.artifacts.store import Store
from repro_tui.errors import DigestMismatchError, ManifestError
from repro_tui.manifest.folder_listing import ListedFileError, Listing, read_listing
from repro_tui.manifest.models import Artifact


def listing_of(artifact: Artifact, base: Path) -> Listing | None:
    """Return the listing of an artifact, None where it has none; raises ManifestError for one that cannot be read."""
    return None if artifact.listing is None else listing_at(base, artifact.listing, artifact.name)


def listing_at(base: Path, relative: str, name: str) -> Listing:
    """Return the listing at a path relative to the manifest's folder; raises ManifestError that names it."""
    try:
        return read_listing(base / relative)
    except ValueError as error:
        raise ManifestError(str(error), where=f"artifacts.{name}.listing") from None


def held_files(listing: Listing, store: Store, mirrors: Sequence[Mirror]) -> tuple[dict[str, Path], list[str]]:
    """Return those of the files that the store or a mirror has, and the names of the others; bytes are not checked."""
    found: dict[str, Path] = {}
    missing: list[str] = []
    for name, sha256 in listing.files.items():
        there = store.blob(sha256) if store.has_blob(sha256) else None
        if there is None:
            there = next((path for mirror in mirrors for path in mirror.files(sha256)), None)
        if there is None:
            missing.append(name)
        else:
            found[name] = there.resolve()
    return found, missing


def are_held(listing: Listing, store: Store, mirrors: Sequence[Mirror]) -> bool:
    """Tell whether each file has its digest's name in the store or a mirror, without reading it: a hint."""
    digests = set(listing.files.values())
    return all(store.has_blob(sha256) or any(mirror.files(sha256) for mirror in mirrors) for sha256 in digests)


def put_listed(
    store: Store, files: Mapping[str, Path], listing: Listing, *, tree_sha256: str, component: str, where: str = ""
) -> Path:
    """Keep the listed files as the folder they are; raises DigestMismatchError that names the first with other bytes.

    `where` is what they were found in, where that is one place.
    """
    source = listing.path
    try:
        return store.put_tree(
            source, tree_sha256=tree_sha256, component=component, where=where, files=files, plain=True
        )
    except DigestMismatchError:
        try:
            listing.check(files)
        except ListedFileError as error:
            found_in = f"{where}, {error.name}" if where else str(files[error.name])
            raise DigestMismatchError(
                component=f"{component}/{error.name}", expected=listing.files[error.name], observed=error.observed,
                where=f"{found_in} (named in {listing.place(error.name)})",
            ) from None  # fmt: skip
        raise
