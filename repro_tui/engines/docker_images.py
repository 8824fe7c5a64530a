"""Images in a Docker daemon: loaded from the layout, known again whichever way the daemon stores them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from repro_tui.engines.base import Progress
from repro_tui.engines.docker_errors import engine_error
from repro_tui.errors import DriftError
from repro_tui.images.model import Image

if TYPE_CHECKING:
    from docker import DockerClient


def tag(image: Image) -> str:
    """Return the name under which Docker lists the image; without one `docker image prune` would take it."""
    return f"repro-tui/{image.name}:{image.config_digest.removeprefix('sha256:')[:12]}"


def layers(held: Any) -> tuple[str, ...]:
    """Return the diff_ids of the daemon's image."""
    return tuple(held.attrs.get("RootFS", {}).get("Layers") or ())


def find(client: DockerClient, image: Image, *, containerd: bool) -> Any | None:
    """Return the daemon's image, None where it has it not.

    In the classic store its ID is the config digest. In the containerd store the ID is the digest of a manifest of
    Docker's own, made as it loads: there the tag is asked, and believed where the layers are the image's.
    """
    from docker.errors import DockerException, ImageNotFound

    for reference in (image.config_digest, tag(image)) if containerd else (image.config_digest,):
        try:
            held = client.images.get(reference)
        except ImageNotFound:
            continue
        except DockerException as error:
            raise engine_error(error, "Docker cannot be asked for the image") from error
        if reference == image.config_digest or layers(held) == image.diff_ids:
            return held
    return None


def check(held: Any | None, image: Image) -> None:
    """Compare the daemon's image with the one that was loaded; raises DriftError."""
    if held is None:
        raise DriftError(
            f"Docker loaded image {image.name} under another ID than {image.config_digest}",
            component="image",
            where=image.name,
        )
    there = layers(held)
    if there != image.diff_ids:
        raise DriftError(
            f"Docker's image {held.id} has layers {', '.join(there)}; assembled were {', '.join(image.diff_ids)}",
            component="image",
            where=image.name,
            hint=f"Remove it (docker image rm {held.id}) and run again.",
        )


def load(client: DockerClient, image: Image, progress: Progress) -> None:
    """Send the image; `client` has no time limit. Raises EngineError, StoreFullError."""
    from repro_tui.images import archive

    total = archive.archive_size_bytes(image)

    def counted(chunks: Iterable[bytes]) -> Iterator[bytes]:
        done = 0
        for chunk in chunks:
            done += len(chunk)
            progress(min(done, total), total, f"docker load {image.name}")
            yield chunk

    send: Callable[..., Iterator[dict[str, Any]]] = client.api.load_image
    what = f"Docker did not load image {image.name}"
    try:
        said = list(send(counted(archive.docker_archive(image, (tag(image),))), quiet=True))
    except Exception as error:
        raise engine_error(error, what) from error
    for answer in said:
        if "error" in answer:
            raise engine_error(RuntimeError(answer["error"]), what)
