"""The OCI image layout: manifest, configuration and index as bytes that depend on the layers and the recipe only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro_tui.images.model import Layer

MEDIA_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MEDIA_CONFIG = "application/vnd.oci.image.config.v1+json"
MEDIA_LAYER = "application/vnd.oci.image.layer.v1.tar"
MEDIA_INDEX = "application/vnd.oci.image.index.v1+json"

HISTORY = "repro-tui: "
"""What the history of a layer of ours begins with; its title follows."""

_TITLE_LENGTH = 60
_CREATED = "1980-01-01T00:00:00Z"
_VARIABLES = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Documents:
    """The two documents an image is known by, as they are stored."""

    manifest: bytes
    config: bytes

    @property
    def manifest_digest(self) -> str:
        """Digest of the manifest, with `sha256:`: what a registry knows the image by."""
        return digest(self.manifest)

    @property
    def config_digest(self) -> str:
        """Digest of the configuration, with `sha256:`: what Docker shows as the image ID."""
        return digest(self.config)


def digest(data: bytes) -> str:
    """Return the SHA-256 with its `sha256:` prefix."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def documents(layers: Sequence[Layer], *, architecture: str, environment: Mapping[str, str]) -> Documents:
    """Return manifest and configuration of an image (OCI image specification 1.0)."""
    config = _bytes(
        {
            "created": _CREATED,
            "architecture": architecture,
            "os": "linux",
            "config": {
                "User": "1000:1000",
                "Env": [f"{key}={value}" for key, value in sorted({**_VARIABLES, **environment}.items())],
                "Cmd": ["/bin/bash"],
                "WorkingDir": "/out",
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
            "history": [{"created": _CREATED, "created_by": f"{HISTORY}{layer.title}"} for layer in layers],
        }
    )
    manifest = _bytes(
        {
            "schemaVersion": 2,
            "mediaType": MEDIA_MANIFEST,
            "config": {"mediaType": MEDIA_CONFIG, "digest": digest(config), "size": len(config)},
            "layers": [
                {"mediaType": MEDIA_LAYER, "digest": layer.digest, "size": layer.size_bytes} for layer in layers
            ],
        }
    )
    return Documents(manifest, config)


def blob(layout: Path, of: str) -> Path:
    """Return where a blob with that digest (with `sha256:`) lies in a layout."""
    return layout / "blobs" / "sha256" / of.removeprefix("sha256:")


def write(
    layout: Path, made: Documents, *, name: str, platform: str, media_type: str = MEDIA_MANIFEST, beside: bytes = b""
) -> None:
    """Write everything of a layout but the layers' blobs; `beside` is a document to keep, an index that led here."""
    (layout / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    (layout / "oci-layout").write_bytes(_bytes({"imageLayoutVersion": "1.0.0"}))
    descriptor = {
        "mediaType": media_type,
        "digest": made.manifest_digest,
        "size": len(made.manifest),
        "platform": dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False)),
        "annotations": {"org.opencontainers.image.ref.name": name},
    }
    index = {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": [descriptor]}
    (layout / "index.json").write_bytes(_bytes(index))
    blob(layout, made.manifest_digest).write_bytes(made.manifest)
    blob(layout, made.config_digest).write_bytes(made.config)
    if beside:
        blob(layout, digest(beside)).write_bytes(beside)


def read(layout: Path) -> tuple[Documents, tuple[Layer, ...]]:
    """Read a layout back: the documents are hashed again, the layers' blobs compared by size.

    Raises ValueError, KeyError or OSError where anything is missing or other than its digest says.
    """
    index = json.loads((layout / "index.json").read_bytes())
    manifest_digest = str(index["manifests"][0]["digest"])
    manifest_bytes = _checked(layout, manifest_digest)
    manifest: dict[str, Any] = json.loads(manifest_bytes)
    config_bytes = _checked(layout, str(manifest["config"]["digest"]))
    config: dict[str, Any] = json.loads(config_bytes)
    layers = read_layers(manifest, config)
    for layer in layers:
        if blob(layout, layer.blob).stat().st_size != layer.size_bytes:
            raise ValueError(f"blob {layer.blob} is not {layer.size_bytes} bytes long")
    return Documents(manifest_bytes, config_bytes), layers


def read_layers(manifest: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Return the layers that a manifest and its configuration name, lowest first, each with what its history says.

    Raises ValueError, KeyError or TypeError where the two do not agree.
    """
    history = [str(each.get("created_by", "")) for each in config.get("history") or () if not each.get("empty_layer")]
    titles = [words.removeprefix(HISTORY) for words in history]
    found: list[Layer] = []
    for entry, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        title = titles[len(found)] if len(found) < len(titles) else ""
        of = str(entry["digest"])
        if of != diff_id and str(entry["mediaType"]).endswith(".tar"):
            raise ValueError(f"the layer {of} is not compressed and has another diff_id, {diff_id}")
        found.append(
            Layer(
                digest=str(diff_id),
                size_bytes=int(entry["size"]),
                title=title[:_TITLE_LENGTH] or f"layer {len(found) + 1}",
                media_type=str(entry["mediaType"]),
                compressed=of if of != diff_id else "",
            )
        )
    return tuple(found)


def _checked(layout: Path, of: str) -> bytes:
    data = blob(layout, of).read_bytes()
    if digest(data) != of:
        raise ValueError(f"blob {of} has other bytes than its digest says")
    return data


def _bytes(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"
