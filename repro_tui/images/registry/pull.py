"""Documents and blobs out of a registry, checked against their digests while they come.

A blob goes to the store's `partial/` and from there, when it is whole, to `blobs/`. What an interrupted download left
is hashed again and gone on with; a server that sends more than a descriptor says is not listened to any further.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING

from repro_tui.artifacts.store import Store
from repro_tui.errors import DigestMismatchError, DriftError
from repro_tui.images.registry import media
from repro_tui.images.registry.errors import PassingError, RegistryError
from repro_tui.images.registry.transport import Transport, stopped

if TYPE_CHECKING:
    from requests import Response

MAX_MANIFEST_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 20
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def fetch_document(transport: Transport, digest: str, store: Store) -> bytes:
    """Return the manifest or index with that digest and keep it in the store; raises DigestMismatchError."""
    reference = transport.reference
    kept: list[bytes] = []

    def ask() -> None:
        what = f"the manifest {digest}"
        with transport.send(
            "GET", f"{transport.base}/manifests/{digest}", what, headers={"Accept": media.ACCEPT}
        ) as answer:
            data = answer.raw.read(MAX_MANIFEST_BYTES + 1, decode_content=True)
        if len(data) > MAX_MANIFEST_BYTES:
            raise DriftError(
                f"{reference.host} serves more than {MAX_MANIFEST_BYTES >> 20} MiB as a manifest",
                component="image",
                where=str(reference),
            )
        kept.append(data)

    transport.retrying(ask)
    store.put_stream(
        io.BytesIO(kept[-1]), sha256=digest.removeprefix("sha256:"), component=f"the manifest {digest[:19]}…",
        where=str(reference),
    )  # fmt: skip
    return kept[-1]


def fetch_blob(
    transport: Transport, wanted: media.Descriptor, store: Store, moved: Callable[[int], None] = lambda _: None
) -> Path:
    """Return a blob, from the store or fetched now; `moved` is told of every piece, in bytes.

    Raises DigestMismatchError for other bytes, DriftError for another size, RegistryError.
    """
    sha256 = wanted.digest.removeprefix("sha256:")
    with store.lock(f"download-{sha256}"):
        if (found := store.blob(sha256)) is not None:  # another process was faster
            moved(wanted.size_bytes)
            return found
        download = _Download(transport, wanted, store.partial(sha256), moved)
        try:
            download.run()
        except DigestMismatchError:
            if not download.resumed:
                raise
            download.forget()  # what an earlier process left may have been at fault
            download.run()
        return store.put_file(
            download.target, sha256=sha256, component=f"layer {wanted.digest[:19]}…", where=str(transport.reference),
            move=True, observed=download.observed,
        )  # fmt: skip


class _Download:
    """One blob on its way."""

    def __init__(
        self, transport: Transport, wanted: media.Descriptor, target: Path, moved: Callable[[int], None]
    ) -> None:
        self._transport = transport
        self._wanted = wanted
        self.target = target
        self._moved = moved
        self._digest = hashlib.sha256()
        self._have = 0
        self.resumed = False
        self.observed = ""

    def run(self) -> None:
        """Bring all of it, and check it."""
        with open(os.open(self.target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0) as file:
            self._take_up(file)
            if self._have < self._wanted.size_bytes:
                self._transport.retrying(lambda: self._try(file), moved=lambda: self._have)
        self.observed = observed = self._digest.hexdigest()
        if "sha256:" + observed != self._wanted.digest:
            if not self.resumed:
                self.forget()
            raise DigestMismatchError(
                component=f"the blob that {self._transport.reference.host} serves",
                expected=self._wanted.digest.removeprefix("sha256:"),
                observed=observed,
                where=str(self._transport.reference),
                hint="the registry, or something on the way to it, changes what it serves: try a mirror",
            )

    def forget(self) -> None:
        """Drop what is there."""
        self.target.unlink(missing_ok=True)
        self._moved(-self._have)
        self._digest, self._have, self.resumed = hashlib.sha256(), 0, False

    def _take_up(self, file: IO[bytes]) -> None:
        """Hash what an interrupted download left."""
        while chunk := file.read(_CHUNK_BYTES):
            self._digest.update(chunk)
            self._have += len(chunk)
        if self._have > self._wanted.size_bytes:
            self._restart(file)
            return
        self.resumed = self._have > 0
        self._moved(self._have)

    def _restart(self, file: IO[bytes]) -> None:
        file.seek(0)
        file.truncate()
        self._digest, self._have = hashlib.sha256(), 0

    def _try(self, file: IO[bytes]) -> None:
        headers = {"Range": f"bytes={self._have}-"} if self._have else {}
        digest = self._wanted.digest
        with self._transport.send(
            "GET", f"{self._transport.base}/blobs/{digest}", f"the blob {digest[:19]}…", headers=headers,
            accept_status=frozenset({416}),
        ) as response:  # fmt: skip
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self._again(file)
                raise PassingError("what is there does not fit", self._wrong("a range it does not have"))
            self._begin(response, file)
            while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
                if self._transport.stop.is_set():
                    raise stopped(self._transport.reference)
                if self._have + len(chunk) > self._wanted.size_bytes:
                    raise self._other_size("more")
                self._write(file, chunk)
        if self._have < self._wanted.size_bytes:
            reason = f"the connection ended after {self._have} of {self._wanted.size_bytes} bytes"
            raise PassingError(reason, self._wrong(reason))

    def _write(self, file: IO[bytes], chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            written = file.write(view)
            view = view[written:]
        self._digest.update(chunk)
        self._have += len(chunk)
        self._moved(len(chunk))

    def _begin(self, response: Response, file: IO[bytes]) -> None:
        """See where the answer begins and how much there is of it, and start over where it begins anew."""
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != self._have:
                raise self._wrong("another range than was asked for")
            total = found[3]
        else:
            if self._have:
                self._again(file)
            total = response.headers.get("Content-Length", "")
        if total.isdigit() and int(total) != self._wanted.size_bytes:
            raise self._other_size(total)

    def _again(self, file: IO[bytes]) -> None:
        self._moved(-self._have)
        self._restart(file)

    def _other_size(self, total: str) -> DriftError:
        return DriftError(
            f"{self._transport.reference.host} serves {total} bytes for the blob {self._wanted.digest}, "
            f"the manifest says {self._wanted.size_bytes}",
            component="image",
            where=str(self._transport.reference),
            hint="the registry, or something on the way to it, changes what it serves: try a mirror",
        )

    def _wrong(self, words: str) -> RegistryError:
        return RegistryError(
            f"{self._transport.reference.host} answers with {words}"
            if not words.startswith("the ")
            else f"{self._transport.reference.host}: {words}",
            where=str(self._transport.reference),
        )
