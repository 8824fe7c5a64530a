"""What an image is, once it exists on this host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layer:
    """One uncompressed layer: its digest is its diff_id (OCI image specification, "Layer DiffID"). With `sha256:`."""

    digest: str
    size_bytes: int
    title: str


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

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Digests of the uncompressed layers, lowest first."""
        return tuple(layer.digest for layer in self.layers)
