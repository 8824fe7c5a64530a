"""Media types of images, OCI's and Docker's, and what a manifest and an index say."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Self

from repro_tui.errors import DriftError
from repro_tui.images import layout

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

MANIFESTS = frozenset({layout.MEDIA_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({layout.MEDIA_INDEX, DOCKER_INDEX})
_CONFIGS = frozenset({layout.MEDIA_CONFIG, DOCKER_CONFIG})
_LAYER = re.compile(
    r"application/vnd\.(oci\.image\.layer(\.nondistributable)?\.v1|docker\.image\.rootfs(\.foreign)?\.diff)\.tar"
    r"([.+](gzip|zstd))?"
)
ACCEPT = f"{layout.MEDIA_MANIFEST}, {DOCKER_MANIFEST}, {layout.MEDIA_INDEX}, {DOCKER_INDEX}"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_LAYERS = 500
_MAX_BLOB_BYTES = 1 << 40


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a document says of a blob."""

    media_type: str
    digest: str
    size_bytes: int

    @classmethod
    def of(cls, body: Any) -> Self:
        """Read one; raises ValueError, KeyError or TypeError."""
        digest, size = body["digest"], body["size"]
        if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
            raise ValueError(f"{digest!r} is no sha256 digest")
        if not isinstance(size, int) or not 0 <= size <= _MAX_BLOB_BYTES:
            raise ValueError(f"{size!r} is no size")
        return cls(str(body.get("mediaType", "")), digest, size)

    @property
    def is_foreign(self) -> bool:
        """Whether it is a layer that must not be passed on, so most registries do not hold it."""
        return ".nondistributable." in self.media_type or ".foreign." in self.media_type


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image: its configuration and its layers, lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """Several images: each with its platform, `os/architecture[/variant]`."""

    entries: tuple[tuple[str, Descriptor], ...]

    def choose(self, platform: str) -> Descriptor | None:
        """Return the manifest for a platform: the very one, else one that differs in the variant only."""
        wanted = _normal(platform)
        for name, descriptor in self.entries:
            if _normal(name) == wanted:
                return descriptor
        if wanted.count("/") > 1:
            return None
        return next((found for name, found in self.entries if _normal(name).startswith(f"{wanted}/")), None)


def read_document(data: bytes, where: str) -> Manifest | Index:
    """Read what a registry serves under a manifest's digest; raises DriftError for anything that is no image."""
    try:
        body = dict(json.loads(data))
        if body.get("schemaVersion") == 1:
            raise _no_image("a manifest of schema 1, which registries gave up and whose digests say nothing", where)
        kind = body.get("mediaType") or (layout.MEDIA_INDEX if "manifests" in body else layout.MEDIA_MANIFEST)
        if kind in INDEXES:
            entries = [
                (_platform(each.get("platform") or {}), Descriptor.of(each))
                for each in body["manifests"]
                if str(each.get("mediaType", "")) in MANIFESTS
            ]
            return Index(tuple(entries))
        if kind not in MANIFESTS:
            raise _no_image(f"a document of type {kind!r}", where)
        config, layers = Descriptor.of(body["config"]), tuple(Descriptor.of(each) for each in body["layers"])
        if config.media_type not in _CONFIGS or body.get("artifactType"):
            raise _no_image(f"an artifact of type {body.get('artifactType') or config.media_type!r}", where)
        for layer in layers:
            if _LAYER.fullmatch(layer.media_type) is None:
                raise _no_image(f"something with a layer of type {layer.media_type!r}", where)
        if len(layers) > _MAX_LAYERS:
            raise _no_image(f"something with {len(layers)} layers", where)
        return Manifest(kind, config, layers)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _no_image(f"a document that cannot be read ({type(error).__name__}: {error})", where) from None


def config_platform(config: dict[str, Any]) -> str:
    """Return the platform that an image's configuration names."""
    return _platform(config)


def same_platform(one: str, other: str) -> bool:
    """Tell whether two platforms are the same, where one may leave the variant open."""
    first, second = _normal(one), _normal(other)
    return first == second or first.startswith(f"{second}/") or second.startswith(f"{first}/")


def _platform(body: dict[str, Any]) -> str:
    parts = (body.get("os") or "unknown", body.get("architecture") or "unknown", body.get("variant") or "")
    return "/".join(str(part) for part in parts if part)


def _normal(platform: str) -> str:
    """Leave out the variant that an architecture has anyway."""
    return {"linux/arm64/v8": "linux/arm64", "linux/amd64/v1": "linux/amd64"}.get(platform, platform)


def _no_image(words: str, where: str) -> DriftError:
    return DriftError(
        f"the digest is that of {words}, not of an image", component="image", where=where, hint="check the reference"
    )
