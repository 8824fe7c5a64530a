"""The image as the stream that `docker load` reads, made from the layout on the fly: nothing is written twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from repro_tui.images import layout, tar
from repro_tui.images.compression import compression, uncompressed
from repro_tui.images.model import Image

_CHUNK_BYTES = 1 << 20


def docker_archive(image: Image, tags: tuple[str, ...] = ()) -> Iterator[bytes]:
    """Yield a docker-archive (image specification 1.2): configuration, layers, manifest.json.

    The configuration goes in unchanged, so the image ID that Docker shows is `image.config_digest`.
    """
    config_name = image.config_digest.removeprefix("sha256:") + ".json"
    names = [layer.digest.removeprefix("sha256:") + ".tar" for layer in image.layers]
    manifest = [{"Config": config_name, "RepoTags": list(tags) or None, "Layers": names}]
    body = json.dumps(manifest, separators=(",", ":")).encode()
    yield tar.header("manifest.json", b"0", 0o644, len(body)) + body + tar.padding(len(body))
    yield from _file(config_name, layout.blob(image.layout, image.config_digest))
    written: set[str] = set()
    for name, layer in zip(names, image.layers, strict=True):
        if name not in written:  # two equal layers are stored once
            written.add(name)
            yield from _layer(name, layout.blob(image.layout, layer.blob))
    yield tar.END


def archive_size_bytes(image: Image) -> int:
    """Return about how many bytes `docker_archive` yields, for progress."""
    return sum(layer.size_bytes for layer in image.layers)


def _layer(name: str, blob: Path) -> Iterator[bytes]:
    """Yield a layer as it is, gzip too; zstd is undone, since older engines do not know it."""
    if compression(blob) != "zstd":
        yield from _file(name, blob)
        return
    size = sum(map(len, uncompressed(blob)))  # it comes before the content
    yield tar.header(name, b"0", 0o644, size)
    yield from uncompressed(blob)
    yield tar.padding(size)


def _file(name: str, path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    yield tar.header(name, b"0", 0o644, size)
    left = size
    with path.open("rb", buffering=0) as file:
        while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk
    if left:
        raise OSError(f"{path} became shorter while it was read")
    yield tar.padding(size)
