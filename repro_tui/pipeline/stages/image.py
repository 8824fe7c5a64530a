"""image: pull or assemble the image, compare its digests with the pins, give it to the engine."""

from __future__ import annotations

import time

from repro_tui.artifacts.mirrors import Mirror
from repro_tui.engines.builds import build
from repro_tui.engines.embedded import run_in_root
from repro_tui.errors import ArtifactUnavailableError, DriftError, InfrastructureError
from repro_tui.events import CheckResult, CheckStatus, StageStatus
from repro_tui.images.assemble import assemble, find_image
from repro_tui.images.model import Image
from repro_tui.images.pulled import find_pulled, pull
from repro_tui.images.recipe import find_recipe
from repro_tui.images.registry.errors import RegistryError
from repro_tui.pipeline.context import Context, StageResult
from repro_tui.pipeline.plan import CONFIG_DIGEST, MANIFEST_DIGEST, REFERENCE_DIGEST
from repro_tui.pipeline.stages.artifacts import Fetching, fetcher, mirrors
from repro_tui.runs.words import size


def run(context: Context) -> StageResult:
    """Leave `context.image` ready to start containers from."""
    context.fetching = Fetching(context)
    context.image, cached = _image(context)
    _compare(context, context.image)
    cached = _prepare(context) and cached
    layers = len(context.image.layers)
    size_bytes = sum(layer.size_bytes for layer in context.image.layers)
    return StageResult(
        StageStatus.CACHED if cached else StageStatus.PASSED,
        f"{context.image.name}, {layers} layers, {size(size_bytes)}",
    )


def obtain(context: Context, *, prepare: bool) -> Image:
    """Return the image, given to the engine where it is to start, compared with nothing: for who makes the pins."""
    context.image, _ = _image(context)
    if prepare:
        _prepare(context)
    return context.image


def _image(context: Context) -> tuple[Image, bool]:
    """Return the image, and whether it was in the store: pulled where a reference says which, else assembled."""
    pins = context.loaded.manifest.image
    if pins.dockerfile is not None:
        return _built(context)
    if pins.reference is None:
        return _assembled(context)
    try:
        return _pulled(context, pins.reference)
    except (RegistryError, ArtifactUnavailableError) as error:
        if pins.recipe is None:
            raise
        context.notice("warning", f"not pulled: {error.message}; assembling it from image.recipe", hint=error.hint)
        return _assembled(context)


def _pulled(context: Context, reference: str) -> tuple[Image, bool]:
    """Pull the image; offline it must be in the store or in a mirror folder."""
    platform = context.loaded.manifest.image.platform
    if (image := find_pulled(reference, platform, store=context.store)) is not None:
        return image, True
    image = pull(
        reference,
        platform,
        store=context.store,
        progress=context.progress("bytes"),
        offline=context.options.offline,
        mirrors=mirrors(context),
        notify=lambda text: context.notice("warning", text),
    )
    return image, False


def _assembled(context: Context) -> tuple[Image, bool]:
    """Assemble the image from its recipe and the dependency lock."""
    manifest = context.loaded.manifest
    if manifest.image.recipe is None or manifest.environment.lock is None:
        raise InfrastructureError(
            "an image is assembled from a recipe and a dependency lock, and the manifest does not name both",
            where="image.recipe, environment.lock",
            hint="name both, or an image by digest in image.reference",
        )
    folder = context.loaded.path.absolute().parent
    recipe = find_recipe(manifest.image.recipe, manifest.image.platform, near=(folder, folder.parent))
    lock = context.loaded.resolve(manifest.environment.lock)
    cached = find_image(recipe, lock, store=context.store) is not None
    digest = manifest.image.manifest_digest
    if not cached and digest and any(Mirror(each).files(digest.removeprefix("sha256:")) for each in mirrors(context)):
        return _pulled(context, f"{manifest.image.recipe}@{digest}")  # a mirror has it as a whole: a bundle of layers
    image = assemble(
        recipe,
        lock,
        store=context.store,
        fetcher=fetcher(context, context.progress("bytes")),
        run_in_root=run_in_root,
        progress=context.progress("bytes"),
        log=context.log,
    )
    return image, cached


def _built(context: Context) -> tuple[Image, bool]:
    """Have Docker or Podman build the manifest's Dockerfile; its digests differ each time, so none is compared."""
    pins = context.loaded.manifest.image
    image, cached = build(
        context.loaded.resolve(pins.dockerfile or ""),
        pins.platform,
        engine=context.engine.name,
        store=context.store,
        log=context.log,
        offline=context.options.offline,
        progress=context.progress("bytes"),
    )
    pinned = context.loaded.manifest.environment.hash is not None
    context.notice(
        "info" if pinned else "warning",
        "the image is built from a Dockerfile, which gives other bytes each time: "
        + ("the environment hash is what is pinned" if pinned else "no environment hash is pinned, so nothing is"),
        hint="" if pinned else "pin environment.hash, or name an image by digest in image.reference",
    )
    return image, cached


def _prepare(context: Context) -> bool:
    """Give the image to the engine; say whether it had it already."""
    tell = context.progress("bytes")
    had_it = True

    def progress(done: int, total: int, text: str) -> None:
        nonlocal had_it
        had_it = had_it and done >= total
        tell(done, total, text)

    context.engine.prepare(context.image, progress)
    return had_it


def _compare(context: Context, image: Image) -> None:
    pins = context.loaded.manifest.image
    if pins.reference is not None:
        _compare_reference(context, image, pins.reference.partition("@")[2])
    for name, where, expected, observed in (
        (MANIFEST_DIGEST, "image.manifest_digest", pins.manifest_digest, image.manifest_digest),
        (CONFIG_DIGEST, "image.config_digest", pins.config_digest, image.config_digest),
    ):
        if expected is not None:
            _compare_digest(context, name, where, expected=expected, observed=observed)


def _compare_reference(context: Context, image: Image, expected: str) -> None:
    """Compare the reference's digest: of the manifest, or of the index that the manifest was chosen from."""
    pinned = context.loaded.manifest.image.manifest_digest
    if image.origin == "assembled" and pinned not in {None, expected} and expected != image.manifest_digest:
        detail = "of an index, it seems: an assembled image has a manifest only, which is pinned and compared"
        context.record(
            CheckResult(
                at=time.time(), name=REFERENCE_DIGEST, component="image", status=CheckStatus.UNVERIFIABLE,
                expected=expected, observed=image.manifest_digest, detail=detail, required=False,
            )
        )  # fmt: skip
        return
    observed = image.index_digest or image.manifest_digest
    _compare_digest(context, REFERENCE_DIGEST, "image.reference", expected=expected, observed=observed)


_DRIFT_HINTS = {
    "assembled": "the recipe, a lock or the assembler is not the one the pin was made with",
    "pulled": "image.reference names another image than this pin: one of the two is wrong",
}


def _compare_digest(context: Context, name: str, where: str, *, expected: str, observed: str) -> None:
    if not context.compare(name, "image", expected=expected, observed=observed):
        context.drift(
            DriftError(
                f"the {name} is {observed}, the pin says {expected}",
                component="image",
                where=where,
                hint=_DRIFT_HINTS.get(context.image.origin, ""),
            )
        )
