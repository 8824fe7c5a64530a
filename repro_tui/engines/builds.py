"""Images built from a Dockerfile: by Docker or Podman, then taken into the store like one that was pulled.

Such a build is not reproducible: its digests are recorded, and the environment hash is its pin. What was built is found
again by what went into it: the context, the platform, and the IDs of the images that it starts from.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from repro_tui.artifacts.store import Store, disk_errors, make_folder
from repro_tui.engines.builders import Builder, Job, builder
from repro_tui.engines.dockerfiles import bases, context_digest
from repro_tui.errors import EngineError
from repro_tui.images import layout
from repro_tui.images.compression import compression
from repro_tui.images.model import Image
from repro_tui.images.pulled import find_pulled, pull

Progress = Callable[[int, int, str], None]

_FORMAT = 1
_CHUNK_BYTES = 1 << 20
_KIND = "builds"


def build(
    dockerfile: Path,
    platform: str,
    *,
    engine: str,
    store: Store,
    log: Path,
    offline: bool = False,
    progress: Progress = lambda _done, _total, _text: None,
) -> tuple[Image, bool]:
    """Return the image of a Dockerfile, whose folder is the context, and whether it was built before.

    `engine` is the run's; where that builds nothing, Docker or Podman does. `log` receives the builder's words.
    Raises EngineError (no builder, a base that is not served, a failing instruction), StoreFullError and DriftError.
    """
    dockerfile = dockerfile.resolve()
    maker = builder(engine)
    words = dockerfile.read_text(encoding="utf-8")
    starts = [maker.base(reference, platform, pull=not offline) for reference in bases(words)]
    key = hashlib.sha256(
        json.dumps([_FORMAT, context_digest(dockerfile.parent, dockerfile), dockerfile.name, platform, starts]).encode()
    ).hexdigest()
    with store.lock(f"build-{key}"):
        if (found := _find(key, platform, store)) is not None:
            return found, True
        tag = f"localhost/repro-tui/built:{key[:12]}"
        progress(0, 0, f"{maker.name} build {dockerfile.name}")
        with log.open("ab", buffering=0) as told:
            maker.build(Job(dockerfile, dockerfile.parent, platform, tag, not offline, told))
        with disk_errors(store.root), store.scratch() as scratch:
            reference = _take_in(maker, tag, scratch, store, progress)
            image = pull(reference, platform, store=store, progress=progress, offline=True)
            folder = make_folder(scratch / "build")
            (folder / "build.json").write_text(json.dumps({"reference": reference}))
            store.publish(folder, _KIND, key)
    return _as_built(image), False


def _find(key: str, platform: str, store: Store) -> Image | None:
    try:
        reference = json.loads((store.folder(_KIND, key) / "build.json").read_bytes())["reference"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    image = find_pulled(str(reference), platform, store=store)
    return None if image is None else _as_built(image)


def _as_built(image: Image) -> Image:
    return replace(image, origin="built", reference="")


def _take_in(maker: Builder, tag: str, scratch: Path, store: Store, progress: Progress) -> str:
    """Put configuration, layers and a manifest of the built image into the store; return its reference by digest."""
    archive = scratch / "built.tar"
    with archive.open("wb") as file:
        maker.save(tag, file, lambda done: progress(done, 0, f"{maker.name} save"))
    try:
        with tarfile.open(archive, "r:") as tar:
            (described,) = json.loads(_member(tar, "manifest.json").read())
            config = _member(tar, described["Config"]).read()
            layers = [_put_layer(tar, name, scratch, store) for name in described["Layers"]]
    except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{maker.name} gave out an archive that cannot be read: {error}", where=tag) from error
    archive.unlink()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": layout.MEDIA_MANIFEST,
            "config": {"mediaType": layout.MEDIA_CONFIG, "digest": layout.digest(config), "size": len(config)},
            "layers": layers,
        },
        sort_keys=True,
        separators=(",", ":"),
    ).encode()
    for document in (config, manifest):
        path = scratch / "document"
        path.write_bytes(document)
        store.put_file(path, sha256=hashlib.sha256(document).hexdigest(), component="the built image")
    return f"localhost/repro-tui/built@{layout.digest(manifest)}"


def _put_layer(tar: tarfile.TarFile, name: str, scratch: Path, store: Store) -> Mapping[str, Any]:
    """Put a layer into the store; return its descriptor."""
    path = scratch / "layer"
    digest = hashlib.sha256()
    with _member(tar, name) as content, path.open("wb") as file:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    size = path.stat().st_size
    kind = compression(path)
    store.put_file(path, sha256=digest.hexdigest(), component="a layer of the built image")
    media_type = layout.MEDIA_LAYER + (f"+{kind}" if kind else "")
    return {"mediaType": media_type, "digest": f"sha256:{digest.hexdigest()}", "size": size}


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    found = tar.extractfile(name)  # follows the links by which Docker stores a layer once
    if found is None:
        raise ValueError(f"{name} is no file")
    return found
