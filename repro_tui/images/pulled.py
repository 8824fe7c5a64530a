"""Images that are pulled by digest: from the store, mirror folders, or their registry, and unpacked for every engine.

    derived/images/<key>/    layout/, root/, inventory.jsonl, like those of an assembled image

The key is that of the manifest, so an image has one place however it was named. Layers lie in the store under their
digests and in the layout, as hard links; an image that was assembled here serves its layers to one that is pulled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro_tui.artifacts.sources.base import Progress
from repro_tui.artifacts.store import Store, disk_errors, make_folder, remove_tree
from repro_tui.errors import ArtifactUnavailableError, DriftError
from repro_tui.images import inventory, layout, unpack
from repro_tui.images.held import MAX_CONFIG_BYTES, Places, check_platform, chosen, image_key, open_image
from repro_tui.images.inventory import Item
from repro_tui.images.model import Image, Layer
from repro_tui.images.registry import media
from repro_tui.images.registry.errors import NotServedError
from repro_tui.images.registry.pull import fetch_blob, fetch_document
from repro_tui.images.registry.reference import Reference
from repro_tui.images.registry.transport import CONNECTIONS, Transport
from repro_tui.images.unpack import Content, Visible
from repro_tui.images.workers import Workers, cpu_count, outcome, workers

_TICK_S = 0.1


def find_pulled(reference: str, platform: str, *, store: Store) -> Image | None:
    """Return the image if it is in the store: its documents are hashed again, its layers compared by size.

    Raises UsageError for a reference without a digest, DriftError for one to something else than an image.
    """
    wanted = Reference.to_pull(reference)
    places = Places(store, ())
    document = places.document(wanted.digest)
    if document is None:
        return None
    index_digest, digest = "", wanted.digest
    if isinstance(read := media.read_document(document, str(wanted)), media.Index):
        index_digest, digest = wanted.digest, chosen(read, platform, wanted).digest
    return open_image(store, wanted, platform, digest, index_digest)


def pull(
    reference: str,
    platform: str,
    *,
    store: Store,
    progress: Progress = lambda _done, _total, _text: None,
    offline: bool = False,
    mirrors: Sequence[Path] = (),
    notify: Callable[[str], None] = lambda _: None,
    processes: int | None = None,
) -> Image:
    """Return the image of a reference by digest for a platform, from the store or pulled and unpacked now.

    What is in the store, or in a mirror folder, is not asked of the registry; `offline` asks it nothing. `progress` is
    called in this thread. Raises UsageError, DigestMismatchError, DriftError, RegistryError (registry/errors.py),
    ArtifactUnavailableError (offline) and StoreFullError.
    """
    wanted = Reference.to_pull(reference)
    if (image := find_pulled(reference, platform, store=store)) is not None:
        return image
    with disk_errors(store.root), store.lock(f"image-{wanted.digest.removeprefix('sha256:')}"):
        if (image := find_pulled(reference, platform, store=store)) is not None:
            return image
        work = _Pull(
            wanted, platform, store, places=Places(store, mirrors), progress=progress, notify=notify, offline=offline
        )
        try:
            return work.run(processes or cpu_count())
        finally:
            work.close()


@dataclass(frozen=True, slots=True)
class _Documents:
    """What an image is known by, and how it was come by."""

    digest: str
    index: bytes
    manifest: media.Manifest
    raw: layout.Documents
    layers: tuple[Layer, ...]


class _Pull:
    """One image on its way: documents, then layers in threads, each read by a process as it comes, then the root."""

    def __init__(
        self,
        reference: Reference,
        platform: str,
        store: Store,
        *,
        places: Places,
        progress: Progress,
        notify: Callable[[str], None],
        offline: bool,
    ) -> None:
        self._reference = reference
        self._platform = platform
        self._store = store
        self._places = places
        self._progress = progress
        self._notify = notify
        self._offline = offline
        self._transport: Transport | None = None
        self._moved = 0

    def close(self) -> None:
        """Close what was opened."""
        if self._transport is not None:
            self._transport.close()

    def run(self, processes: int) -> Image:
        """Pull, unpack and publish."""
        documents = self._documents()
        image = open_image(self._store, self._reference, self._platform, documents.digest, _index_digest(documents))
        if image is not None:  # known under another reference
            return image
        remove_tree(self._store.folder("images", image_key(documents.digest)))
        with self._store.scratch() as scratch, workers(processes) as pool:
            blobs, contents = self._layers(documents, scratch, pool)
            self._publish(documents, blobs, contents, scratch=scratch, pool=pool, processes=processes)
        image = open_image(self._store, self._reference, self._platform, documents.digest, _index_digest(documents))
        if image is None:
            raise RuntimeError("an image that was just published is not whole")
        return image

    # --- documents ----------------------------------------------------------------------------------------------------

    def _documents(self) -> _Documents:
        digest, index = self._reference.digest, b""
        data = self._document(digest)
        read = media.read_document(data, str(self._reference))
        if isinstance(read, media.Index):
            index, digest = data, chosen(read, self._platform, self._reference).digest
            data = self._document(digest)
            read = media.read_document(data, str(self._reference))
        if isinstance(read, media.Index):
            raise DriftError("an index in an index is no image", component="image", where=str(self._reference))
        raw = layout.Documents(data, self._config(read.config))
        try:
            config = json.loads(raw.config)
            layers = layout.read_layers(json.loads(data), config)
            platform = media.config_platform(config)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DriftError(
                f"the image's configuration and its manifest do not fit: {error}",
                component="image",
                where=str(self._reference),
            ) from None
        if not platform.startswith("unknown"):
            check_platform(config, self._platform, self._reference)
        return _Documents(digest, index, read, raw, layers)

    def _document(self, digest: str) -> bytes:
        return self._places.document(digest) or fetch_document(self._connected(digest), digest, self._store)

    def _config(self, wanted: media.Descriptor) -> bytes:
        if wanted.size_bytes > MAX_CONFIG_BYTES:
            raise DriftError(
                f"the image's configuration has {wanted.size_bytes} bytes, which none needs",
                component="image",
                where=str(self._reference),
            )
        found = self._places.document(wanted.digest)
        return found or fetch_blob(self._connected(wanted.digest), wanted, self._store).read_bytes()

    def _connected(self, digest: str) -> Transport:
        if self._offline:
            raise ArtifactUnavailableError(
                f"{digest} of the image is not here, and offline the registry is not asked",
                tried=["the store", "the mirrors", f"{self._reference.host}: offline"],
                where=str(self._reference),
                hint="run once without --offline, or name a folder that `repro-tui image export` made with --mirror",
            )
        if self._transport is None:
            self._transport = Transport(self._reference, notify=self._notify)
        return self._transport

    # --- layers -------------------------------------------------------------------------------------------------------

    def _layers(self, documents: _Documents, scratch: Path, pool: Workers) -> tuple[list[Path], list[Content]]:
        """Have every blob, and what is in it, in the order of the layers."""
        wanted = {each.digest: each for each in documents.manifest.layers}
        diff_ids = {layer.blob: layer.digest for layer in documents.layers}
        total = sum(each.size_bytes for each in wanted.values())
        text = f"pulling {self._reference.name}"
        free_bytes = shutil.disk_usage(scratch).free
        blobs: dict[str, Path] = {}
        contents: dict[str, Content] = {}
        threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="pull")
        try:
            if not self._offline:
                self._connected("")
            pending: dict[Future[Any], str] = {
                threads.submit(self._blob, each): each.digest
                for each in sorted(wanted.values(), key=lambda each: -each.size_bytes)
            }
            while pending:
                ready, _ = wait(pending, timeout=_TICK_S, return_when=FIRST_COMPLETED)
                self._progress(min(self._moved, total), total, text)
                for future in ready:
                    digest = pending.pop(future)
                    if digest in blobs:
                        contents[digest] = outcome(future)
                        continue
                    blobs[digest] = future.result()
                    tar = scratch / f"{digest.removeprefix('sha256:')}.tar"
                    job = pool.submit(unpack.read_layer, blobs[digest], diff_ids[digest], tar, free_bytes)
                    pending[job] = digest
        except BaseException:
            if self._transport is not None:
                self._transport.abort()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
        threads.shutdown()
        order = [each.digest for each in documents.manifest.layers]
        return [blobs[digest] for digest in order], [contents[digest] for digest in order]

    def _blob(self, wanted: media.Descriptor) -> Path:
        """Return one blob; runs in a thread."""
        if (found := self._places.blob(wanted.digest)) is not None:
            self._count(wanted.size_bytes)
            return found
        try:
            return fetch_blob(self._connected(wanted.digest), wanted, self._store, self._count)
        except NotServedError as error:
            if not wanted.is_foreign:
                raise
            raise NotServedError(
                f"{error.message}; the image's maker lets no registry hold this layer ({wanted.media_type})",
                where=error.where,
                hint="the way out: a mirror folder that has the layer (--mirror), or another image",
            ) from None

    def _count(self, size_bytes: int) -> None:
        self._moved += size_bytes  # only shown: a lost race is a wrong digit for a tenth of a second

    # --- root ---------------------------------------------------------------------------------------------------------

    def _publish(
        self,
        documents: _Documents,
        blobs: Sequence[Path],
        contents: Sequence[Content],
        *,
        scratch: Path,
        pool: Workers,
        processes: int,
    ) -> None:
        image = make_folder(scratch / "image")
        visible = unpack.merge([content.entries for content in contents])
        digests = self._write_root(make_folder(image / "root"), visible, contents, pool, processes)
        owners = _owners(documents)
        inventory.write(image / "inventory.jsonl", [_item(each, owners, digests) for each in visible])
        folder = make_folder(image / "layout")
        layout.write(
            folder, documents.raw, name=self._reference.name, platform=self._platform,
            media_type=documents.manifest.media_type, beside=documents.index,
        )  # fmt: skip
        for blob, layer in zip(blobs, documents.layers, strict=True):
            target = layout.blob(folder, layer.blob)
            if not target.exists():
                _link(blob, target)
        self._store.publish(image, "images", image_key(documents.digest))

    def _write_root(
        self, root: Path, visible: Sequence[Visible], contents: Sequence[Content], pool: Workers, processes: int
    ) -> dict[tuple[int, int], str]:
        """Write the root; return the SHA-256 of each file by its layer and where it begins there."""
        unpack.make_folders(root, visible)
        first: dict[tuple[int, int], Visible] = {}
        links: list[tuple[str, str]] = []
        for each in visible:
            if each.entry.kind == "file":
                original = first.setdefault((each.layer, each.entry.offset), each)
                if original is not each:
                    links.append((original.entry.path, each.entry.path))
        total = sum(each.entry.size for each in first.values())
        jobs = [
            (pool.submit(unpack.write_files, root, contents[part[0].layer].tar, [each.entry for each in part]), part)
            for part in _parts(first.values(), 8 * processes)
        ]
        digests: dict[tuple[int, int], str] = {}
        done = 0
        for future, part in jobs:
            while not wait([future], timeout=_TICK_S).done:
                self._progress(done, total, "writing the root")
            for each, sha256 in zip(part, outcome(future), strict=True):
                digests[each.layer, each.entry.offset] = sha256
                done += each.entry.size
            self._progress(done, total, "writing the root")
        for original_path, path in links:
            os.link(unpack.host_path(root, original_path), unpack.host_path(root, path))
        unpack.finish_folders(root, visible)
        return digests


def _index_digest(documents: _Documents) -> str:
    return layout.digest(documents.index) if documents.index else ""


def _parts(files: Iterable[Visible], count: int) -> list[list[Visible]]:
    """Split files into runs of one layer each, of about equal work, the heaviest first."""
    ordered = sorted(files, key=lambda each: (each.layer, each.entry.offset))
    share = sum(each.entry.size + 50_000 for each in ordered) / count
    parts: list[tuple[float, list[Visible]]] = []
    load, part = 0.0, list[Visible]()
    for each in ordered:
        if part and (each.layer != part[-1].layer or load >= share):
            parts.append((load, part))
            load, part = 0.0, []
        part.append(each)
        load += each.entry.size + 50_000
    if part:
        parts.append((load, part))
    return [part for _, part in sorted(parts, key=lambda each: -each[0])]


def _owners(documents: _Documents) -> list[str]:
    """Return whose files a layer has: the package that an assembled layer is of, "image" for any other."""
    history = [
        str(each.get("created_by", ""))
        for each in json.loads(documents.raw.config).get("history") or ()
        if not each.get("empty_layer")
    ]
    ours = [words.startswith(layout.HISTORY) for words in history]
    return [
        layer.title.removeprefix("byte code of ") if number < len(ours) and ours[number] else "image"
        for number, layer in enumerate(documents.layers)
    ]


def _item(each: Visible, owners: Sequence[str], digests: dict[tuple[int, int], str]) -> Item:
    entry = each.entry
    return Item(
        path=entry.path,
        type=entry.kind if entry.readable else "unreadable",
        mode=entry.mode,
        owner=owners[each.layer] if each.layer >= 0 else "image",
        size=entry.size,
        sha256=digests[each.layer, entry.offset] if entry.kind == "file" else "",
        target=entry.target,
    )


def _link(source: Path, target: Path) -> None:
    """Give a blob a second name, or copy it where that cannot be (a store of another user's)."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        target.chmod(0o444)
