"""What an image is, once it exists on this host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: `digest` is its diff_id (OCI image specification, "Layer DiffID"), with `sha256:`."""

    digest: str
    size_bytes: int
    """Of the blob, as it is stored and served."""
    title: str
    media_type: str = "application/vnd.oci.image.layer.v1.tar"
    compressed: str = ""
    """Digest of the blob where that is compressed; an uncompressed blob has the diff_id."""

    @property
    def blob(self) -> str:
        """Digest of the blob, as it is stored and served."""
        return self.compressed or self.digest


@dataclass(frozen=True, slots=True)
class Image:
    """An image in an OCI layout on this host. Digests carry their `sha256:` prefix."""

    name: str
    platform: str
    manifest_digest: str
    config_digest: str
    layers: tuple[Layer, ...]
    layout: Path
    """Folder of the OCI image layout (oci-layout, index.json, blobs/sha256/…)."""
    root: Path
    """The same content as a folder, for the embedded engine."""
    inventory: Path
    """JSON lines, one a file of the image: path, type, mode, sha256 or target, owner (images/inventory.py)."""
    origin: Literal["assembled", "pulled", "built"] = "assembled"
    """Assembled from locks here, pulled by digest, or built from a Dockerfile (which is not reproducible)."""
    reference: str = ""
    """Of a pulled image: NAME@DIGEST, as the manifest gives it."""
    index_digest: str = ""
    """Of a pulled image whose reference names a multi-platform index: the index's digest."""

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Digests of the uncompressed layers, lowest first."""
        return tuple(layer.digest for layer in self.layers)
