"""What is on this host already: pulled images in the store, and the places that a blob may be had from unasked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repro_tui.artifacts.digests import sha256_file
from repro_tui.artifacts.mirrors import Mirror
from repro_tui.artifacts.store import Store
from repro_tui.errors import DriftError
from repro_tui.images import layout
from repro_tui.images.model import Image
from repro_tui.images.registry import media
from repro_tui.images.registry.reference import Reference

_FORMAT = 1
MAX_CONFIG_BYTES = 8 << 20


def image_key(manifest_digest: str) -> str:
    """Return what a pulled image is known by in the store."""
    return hashlib.sha256(json.dumps([_FORMAT, "pulled", manifest_digest]).encode()).hexdigest()


def open_image(store: Store, reference: Reference, platform: str, digest: str, index_digest: str) -> Image | None:
    """Return the image with that manifest if it is whole: documents hashed again, blobs compared by size."""
    folder = store.folder("images", image_key(digest))
    try:
        made, layers = layout.read(folder / "layout")
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
    if made.manifest_digest != digest or not (folder / "root").is_dir() or not (folder / "inventory.jsonl").is_file():
        return None
    check_platform(json.loads(made.config), platform, reference)
    return Image(
        name=reference.name,
        platform=platform,
        manifest_digest=made.manifest_digest,
        config_digest=made.config_digest,
        layers=layers,
        layout=folder / "layout",
        root=folder / "root",
        inventory=folder / "inventory.jsonl",
        origin="pulled",
        reference=f"{reference.repository}@{reference.digest}",
        index_digest=index_digest,
    )


def _platforms(index: media.Index) -> str:
    """Return the platforms of an index, in words."""
    return ", ".join(sorted({name for name, _ in index.entries if not name.startswith("unknown")})) or "none"


def chosen(index: media.Index, platform: str, reference: Reference) -> media.Descriptor:
    """Return an index's manifest for a platform; raises DriftError where there is none."""
    found = index.choose(platform)
    if found is None:
        raise DriftError(
            f"there is no image for {platform} under this reference; there are: {_platforms(index)}",
            component="image",
            where=str(reference),
            hint="pin one of these in image.platform, or another reference",
        )
    return found


def check_platform(config: dict[str, Any], platform: str, reference: Reference) -> None:
    """Raise DriftError where an image's configuration names another platform."""
    observed = media.config_platform(config)
    if not media.same_platform(observed, platform):
        raise DriftError(
            f"the image is for {observed}, and {platform} is wanted",
            component="image",
            where=str(reference),
            hint="pin its platform in image.platform, or another reference",
        )


class Places:
    """Where a blob may be without asking anybody: the store, mirror folders, the layouts of images in the store."""

    def __init__(self, store: Store, mirrors: Sequence[Path]) -> None:
        self._store = store
        self._mirrors = [Mirror(folder) for folder in mirrors]
        images = store.root / "derived" / "images"
        self._layouts = sorted(images.glob("*/layout")) if images.is_dir() else []

    def document(self, digest: str) -> bytes | None:
        """Return a manifest, an index or a configuration."""
        path = self.blob(digest, MAX_CONFIG_BYTES)
        data = path.read_bytes() if path is not None else None
        return data if data is not None and layout.digest(data) == digest else None

    def blob(self, digest: str, size_bytes: int | None = None) -> Path | None:
        """Return a file with that digest, hashed just now; one in a mirror that has other bytes is an error."""
        sha256 = digest.removeprefix("sha256:")
        if (found := self._store.blob(sha256)) is not None:
            return found
        for mirror in self._mirrors:
            for path in mirror.files(sha256):
                return self._store.put_file(path, sha256=sha256, component=f"the blob {digest[:19]}…")
        for folder in self._layouts:
            path = layout.blob(folder, digest)
            try:
                if (size_bytes is None or path.stat().st_size <= size_bytes) and sha256_file(path) == sha256:
                    return path
            except OSError:  # pruned meanwhile
                continue
        return None
