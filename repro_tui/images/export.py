"""An image as an OCI layout outside of the store: a folder, or one tar file with the same bytes every time."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from repro_tui.artifacts.sources.base import Progress
from repro_tui.artifacts.store import make_folder, remove_tree
from repro_tui.errors import DriftError, UsageError, from_os_error
from repro_tui.images import layout, tar
from repro_tui.images.model import Image

_CHUNK_BYTES = 1 << 20


def export(image: Image, target: Path, *, progress: Progress = lambda _done, _total, _text: None) -> Path:
    """Write an image to a folder, or to a file where the name ends with `.tar`, and return it.

    Every blob is hashed on the way; it appears by one rename. Raises UsageError where something is there already,
    DriftError where the image in the store was changed.
    """
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
    if os.path.lexists(target):
        raise UsageError(f"{target} is there already", where=str(target), hint="name a folder or file that is not")
    new = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        (_to_tar if target.suffix == ".tar" else _to_folder)(_files(image), new, _told(image, progress))
        os.rename(new, target)
    except OSError as error:
        raise from_os_error(error) from error
    finally:
        remove_tree(new)
    return target


def _files(image: Image) -> dict[str, Path]:
    """Return what an OCI layout of this one image holds, by path, sorted."""
    blobs = {image.manifest_digest, image.config_digest, *(layer.blob for layer in image.layers)}
    named = {f"blobs/sha256/{blob.removeprefix('sha256:')}": layout.blob(image.layout, blob) for blob in blobs}
    named |= {name: image.layout / name for name in ("index.json", "oci-layout")}
    return dict(sorted(named.items()))


def _told(image: Image, progress: Progress) -> Callable[[int], None]:
    total = sum(layer.size_bytes for layer in {layer.blob: layer for layer in image.layers}.values())
    done = 0

    def tell(size_bytes: int) -> None:
        nonlocal done
        done += size_bytes
        progress(min(done, total), total, f"exporting {image.name}")

    return tell


def _to_folder(files: dict[str, Path], new: Path, tell: Callable[[int], None]) -> None:
    for name, source in files.items():
        path = new / name
        make_folder(path.parent)
        shutil.copyfile(source, path)
        _check(name, path)
        tell(path.stat().st_size)


def _to_tar(files: dict[str, Path], new: Path, tell: Callable[[int], None]) -> None:
    with tar.TarWriter(new) as writer:
        for folder in ("blobs", "blobs/sha256"):
            writer.folder(folder)
        for name, source in files.items():
            _check(name, source)
            size = source.stat().st_size
            writer.file(name, 0o644, size, _chunks(source))
            tell(size)
        writer.finish()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _check(name: str, path: Path) -> None:
    """Hash a blob; the store is not believed."""
    if not name.startswith("blobs/"):
        return
    with path.open("rb", buffering=0) as file:
        observed = hashlib.file_digest(file, "sha256").hexdigest()
    if observed != path.name:
        raise DriftError(
            f"the blob {path.name} of the image has SHA-256 {observed}",
            component="image",
            where=str(path),
            hint="the image was changed in the store: `repro-tui image build NAME --verify` makes it anew",
        )
