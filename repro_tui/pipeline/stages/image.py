"""image: assemble the image (or take it from the store), compare its digests with the pins, give it to the engine."""

from __future__ import annotations

from repro_tui.engines.embedded import run_in_root
from repro_tui.errors import DriftError, InfrastructureError
from repro_tui.events import StageStatus
from repro_tui.images.assemble import assemble, find_image
from repro_tui.images.model import Image
from repro_tui.images.recipe import find_recipe
from repro_tui.pipeline.context import Context, StageResult
from repro_tui.pipeline.plan import CONFIG_DIGEST, MANIFEST_DIGEST
from repro_tui.pipeline.stages.artifacts import Fetching, fetcher


def run(context: Context) -> StageResult:
    """Leave `context.image` ready to start containers from."""
    context.fetching = Fetching(context)
    pins = context.loaded.manifest.image
    if pins.recipe is None:
        raise InfrastructureError(
            "the manifest names its image by reference only, and this version assembles images from recipes",
            where="image.reference",
            hint="name a recipe in image.recipe; its digest can be pinned too",
        )
    folder = context.loaded.path.absolute().parent
    recipe = find_recipe(pins.recipe, pins.platform, near=(folder, folder.parent))
    lock = context.loaded.resolve(context.loaded.manifest.environment.lock)
    cached = find_image(recipe, lock, store=context.store) is not None
    context.image = assemble(
        recipe,
        lock,
        store=context.store,
        fetcher=fetcher(context, context.progress("bytes")),
        run_in_root=run_in_root,
        progress=context.progress("bytes"),
        log=context.log,
    )
    _compare(context, context.image)
    cached = _prepare(context) and cached
    layers = len(context.image.layers)
    size_bytes = sum(layer.size_bytes for layer in context.image.layers)
    return StageResult(
        StageStatus.CACHED if cached else StageStatus.PASSED,
        f"{context.image.name}, {layers} layers, {size_bytes / 1e6:.0f} MB",
    )


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
    for name, where, expected, observed in (
        (MANIFEST_DIGEST, "image.manifest_digest", pins.manifest_digest, image.manifest_digest),
        (CONFIG_DIGEST, "image.config_digest", pins.config_digest, image.config_digest),
    ):
        if expected is not None and not context.compare(name, "image", expected=expected, observed=observed):
            context.drift(
                DriftError(
                    f"the {name} is {observed}, the pin says {expected}",
                    component="image",
                    where=where,
                    hint="the recipe, a lock or the assembler is not the one the pin was made with",
                )
            )
