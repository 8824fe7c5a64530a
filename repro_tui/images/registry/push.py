"""An image into a registry: the blobs that are not there yet, then the manifest, unchanged: its digest stays."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from http import HTTPStatus
from pathlib import Path
from typing import IO
from urllib.parse import urljoin, urlsplit, urlunsplit

from repro_tui.artifacts.sources.base import Progress
from repro_tui.errors import DriftError
from repro_tui.images import layout
from repro_tui.images.model import Image
from repro_tui.images.registry import media
from repro_tui.images.registry.errors import RegistryError
from repro_tui.images.registry.reference import Reference
from repro_tui.images.registry.transport import CONNECTIONS, Transport, stopped

_TICK_S = 0.1
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")


def push(
    image: Image,
    target: str,
    *,
    progress: Progress = lambda _done, _total, _text: None,
    notify: Callable[[str], None] = lambda _: None,
) -> str:
    """Push an image to NAME or NAME:TAG and return NAME@DIGEST; without a tag none is set or moved.

    Blobs that are there are not sent; those of an image from the same registry are taken over there. `progress` is
    called in this thread. Raises UsageError, RegistryError, and DriftError where the layout is not what it was.
    """
    reference = Reference.to_push(target)
    made, _ = layout.read(image.layout)
    manifest = media.read_document(made.manifest, str(image.layout))
    if not isinstance(manifest, media.Manifest):
        raise DriftError("the layout holds no image", component="image", where=str(image.layout))
    transport = Transport(reference, push=True, notify=notify)
    try:
        _push_blobs(transport, image, [*manifest.layers, manifest.config], progress)
        _push_manifest(transport, made.manifest, manifest.media_type)
    finally:
        transport.close()
    return f"{reference.repository}@{made.manifest_digest}"


def _push_blobs(transport: Transport, image: Image, blobs: Sequence[media.Descriptor], progress: Progress) -> None:
    wanted = {each.digest: each for each in blobs}
    total = sum(each.size_bytes for each in wanted.values())
    source = _source(image, transport.reference)
    uploads = [
        _Upload(transport, layout.blob(image.layout, each.digest), each, source)
        for each in sorted(wanted.values(), key=lambda each: -each.size_bytes)
    ]
    threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="push")
    try:
        pending = {threads.submit(upload.run) for upload in uploads}
        while pending:
            ready, pending = wait(pending, timeout=_TICK_S, return_when=FIRST_COMPLETED)
            progress(sum(upload.moved for upload in uploads), total, f"pushing {image.name}")
            for future in ready:
                future.result()
    except BaseException:
        transport.abort()
        threads.shutdown(wait=False, cancel_futures=True)
        raise
    threads.shutdown()


def _source(image: Image, target: Reference) -> str:
    """Return the repository of the same registry that the image was pulled from, if any."""
    if not image.reference:
        return ""
    reference = Reference.parse(image.reference)
    return reference.path if reference.host == target.host and reference.path != target.path else ""


def _push_manifest(transport: Transport, manifest: bytes, media_type: str) -> None:
    digest = layout.digest(manifest)

    def put() -> None:
        with transport.send(
            "PUT", f"{transport.base}/manifests/{transport.reference.tag or digest}", "the right to write the manifest",
            headers={"Content-Type": media_type}, body=lambda: manifest,
        ) as answer:  # fmt: skip
            stored = answer.headers.get("Docker-Content-Digest", digest)
        if stored != digest:
            raise RegistryError(
                f"{transport.reference.host} changed the manifest: it has {stored}, sent was {digest}",
                where=str(transport.reference),
            )

    transport.retrying(put)


class _Body:
    """The rest of a file as requests and http.client send it: its length, and pieces."""

    def __init__(self, upload: _Upload, file: IO[bytes], start: int, size: int) -> None:
        self._upload = upload
        self._file = file
        self._left = size - start
        file.seek(start)
        upload.moved = start

    def __len__(self) -> int:
        return self._left

    def read(self, size: int = -1) -> bytes:
        """Return the next piece."""
        if self._upload.transport.stop.is_set():
            raise stopped(self._upload.transport.reference)
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        self._upload.moved += len(data)
        return data


class _Upload:
    """One blob: looked for, taken over from another repository, or sent; after a cut from where the registry has it."""

    def __init__(self, transport: Transport, path: Path, blob: media.Descriptor, source: str) -> None:
        self.transport = transport
        self.moved = 0
        self._path = path
        self._blob = blob
        self._source = source
        self._what = f"the right to write the blob {blob.digest[:19]}…"
        self._location = ""

    def run(self) -> None:
        """Leave the blob in the registry."""
        self.transport.retrying(self._try, moved=lambda: self.moved)
        self.moved = self._blob.size_bytes

    def _try(self) -> None:
        if self._is_there():
            return
        start = self._resume_at() if self._location else 0
        if not self._location and self._begin():
            return
        if start < self._blob.size_bytes or not self._blob.size_bytes:
            self._send(start)
        self._finish()

    def _is_there(self) -> bool:
        url = f"{self.transport.base}/blobs/{self._blob.digest}"
        with self.transport.send("HEAD", url, self._what, accept_status=frozenset({404})) as answer:
            return answer.status_code == HTTPStatus.OK

    def _begin(self) -> bool:
        """Open an upload; True where the registry took the blob over from another repository."""
        url = f"{self.transport.base}/blobs/uploads/"
        if self._source:
            url += f"?mount={self._blob.digest}&from={self._source}"
        with self.transport.send("POST", url, self._what) as answer:
            self._take(answer.headers.get("Location", ""), answer.url)
            return answer.status_code == HTTPStatus.CREATED

    def _resume_at(self) -> int:
        """Ask how much of an upload that was cut the registry has; one that it forgot begins anew."""
        with self.transport.send("GET", self._location, self._what, accept_status=frozenset({404})) as answer:
            found = _RANGE.fullmatch(answer.headers.get("Range", ""))
            if answer.status_code == HTTPStatus.NOT_FOUND or found is None:
                self._location = ""
                return 0
            self._take(answer.headers.get("Location", ""), answer.url)
            have = int(found[1])
            return have + 1 if have else 0  # "0-0" is what an empty upload says too

    def _send(self, start: int) -> None:
        size = self._blob.size_bytes
        headers = {"Content-Type": "application/octet-stream"}
        if start:
            headers["Content-Range"] = f"{start}-{size - 1}"
        with (
            self._path.open("rb", buffering=0) as file,
            self.transport.send(
                "PATCH", self._location, self._what, headers=headers, body=lambda: _Body(self, file, start, size)
            ) as answer,
        ):
            self._take(answer.headers.get("Location", ""), answer.url)

    def _finish(self) -> None:
        parts = urlsplit(self._location)
        query = f"{parts.query}&" if parts.query else ""
        url = urlunsplit(parts._replace(query=f"{query}digest={self._blob.digest}"))
        with self.transport.send("PUT", url, self._what, headers={"Content-Length": "0"}):
            self._location = ""

    def _take(self, location: str, url: str) -> None:
        """Remember where to go on: an address that may be relative to the one that was asked."""
        self._location = urljoin(url, location) if location else self._location
