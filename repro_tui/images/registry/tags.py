"""What a tag names now: the digest of the manifest, or of the multi-platform index, that the registry serves for it."""

from __future__ import annotations

import hashlib

from repro_tui.errors import DriftError
from repro_tui.images.registry import media
from repro_tui.images.registry.pull import MAX_MANIFEST_BYTES
from repro_tui.images.registry.reference import Reference
from repro_tui.images.registry.transport import Transport


def digest_of_tag(text: str) -> str:
    """Return `sha256:…` of what a reference without a digest names now ("latest" without a tag).

    The digest is that of the bytes that came, whatever the registry's header says. Raises UsageError for what is no
    reference, RegistryError, and DriftError for something else than an image.
    """
    reference = Reference.parse(text)
    transport = Transport(reference)
    kept: list[bytes] = []

    def ask() -> None:
        url = f"{transport.base}/manifests/{reference.tag or 'latest'}"
        with transport.send(
            "GET", url, f"the tag {reference.tag or 'latest'}", headers={"Accept": media.ACCEPT}
        ) as answer:
            kept.append(answer.raw.read(MAX_MANIFEST_BYTES + 1, decode_content=True))

    try:
        transport.retrying(ask)
    finally:
        transport.close()
    if len(kept[-1]) > MAX_MANIFEST_BYTES:
        raise DriftError(f"{reference.host} serves no manifest of a sensible size", component="image", where=text)
    media.read_document(kept[-1], text)
    return f"sha256:{hashlib.sha256(kept[-1]).hexdigest()}"
