"""From a recipe and a lock to an image: an OCI layout, the same content as a folder, and the list of its files.

    derived/layers/<key>/    a layer (layers.py), shared by the images that have it
    derived/images/<key>/    layout/, root/, inventory.jsonl: one image, published whole

Each key is the SHA-256 of everything that decides the bytes, so a lock changed in one package remakes that package's
layer and its byte code and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from repro_tui.artifacts.packages import DebPin, WheelPin
from repro_tui.artifacts.store import Store, disk_errors, make_folder, remove_tree
from repro_tui.images import bytecode, inventory, layers, layout, root
from repro_tui.images.bytecode import RunInRoot
from repro_tui.images.debs import LockedDeb, read_base_lock
from repro_tui.images.inventory import Item
from repro_tui.images.layers import MadeLayer
from repro_tui.images.locks import LockedWheel, read_lock, target
from repro_tui.images.model import Image, Layer
from repro_tui.images.recipe import Recipe
from repro_tui.images.wheels import WheelFile
from repro_tui.images.workers import Workers, cpu_count, workers

FORMAT = 1
"""Part of every key: another number where the same locks give other bytes than before."""

Progress = Callable[[int, int, str], None]
"""Called with (done, total, text); bytes."""


class Fetcher(Protocol):
    """What assembly needs of artifacts.fetch.Fetcher: files in the order of the pins, their digests checked."""

    def wheels(self, pins: Sequence[WheelPin]) -> list[Path]:
        """Return a wheel for each pin."""

    def debs(self, pins: Sequence[DebPin]) -> list[Path]:
        """Return each Debian package."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be assembled, read and checked."""

    recipe: Recipe
    debs: tuple[LockedDeb, ...]
    wheels: tuple[LockedWheel, ...]

    @property
    def key(self) -> str:
        """What the image is known by in the store before it exists."""
        return _key(
            "image", self.recipe.name, self.recipe.platform, self.recipe.sha256,
            [deb.to_line() for deb in self.debs], [[wheel.name, wheel.version, wheel.sha256s] for wheel in self.wheels],
            bytecode.SCRIPT.read_text(encoding="utf-8"),
        )  # fmt: skip


def plan(recipe: Recipe, lock: Path) -> Plan:
    """Read both locks; raises ManifestError."""
    return Plan(
        recipe, read_base_lock(recipe.base_lock), read_lock(lock, platform=recipe.platform, python=recipe.python)
    )


def find_image(recipe: Recipe, lock: Path, *, store: Store) -> Image | None:
    """Return the image if it is in the store: manifest and configuration are hashed again, blobs compared by size.

    The files of its root are hashed inside the container, by the environment probe, before anything is run.
    """
    return _open(plan(recipe, lock), store)


def assemble(
    recipe: Recipe,
    lock: Path,
    *,
    store: Store,
    fetcher: Fetcher,
    run_in_root: RunInRoot,
    progress: Progress = lambda _done, _total, _text: None,
    processes: int | None = None,
    log: Path | None = None,
) -> Image:
    """Return the image of a recipe and a dependency lock, from the store or made now.

    `processes` changes how long it takes, never what comes out. `log` receives what the image's Python says. Raises
    ManifestError (locks, recipe, a wheel that cannot be installed), DigestMismatchError, ArtifactUnavailableError,
    StoreFullError and InfrastructureError.
    """
    planned = plan(recipe, lock)
    if (image := _open(planned, store)) is not None:
        return image
    with store.lock(f"image-{planned.key}"):
        if (image := _open(planned, store)) is not None:
            return image
        remove_tree(store.folder("images", planned.key))
        debs = list(zip(planned.debs, fetcher.debs(planned.debs), strict=True))
        wheels = [
            WheelFile(pin.name, pin.version, _which(path, pin.sha256s), path)
            for pin, path in zip(planned.wheels, fetcher.wheels(planned.wheels), strict=True)
        ]
        count = processes or cpu_count()
        with disk_errors(store.root), store.scratch() as scratch, workers(count) as pool:
            assembly = _Assembly(planned, store, pool, count, scratch, run_in_root, progress, log or scratch / "log")
            assembly.make(debs, wheels)
        image = _open(planned, store)
    if image is None:
        raise RuntimeError("an image that was just published is not whole")
    return image


def verify_image(image: Image) -> list[str]:
    """Hash every blob and every file of the root again; return what differs, in words."""
    wrong: list[str] = []
    for layer in image.layers:
        observed = "sha256:" + _sha256(layout.blob(image.layout, layer.blob))
        if observed != layer.blob:
            wrong.append(f"layer {layer.title}: has {observed}, must have {layer.blob}")
    known = {item.path: item for item in inventory.read(image.inventory)}
    start = os.fsencode(image.root)
    for folder, names, files in os.walk(start):
        for name in (*names, *files):
            path = os.path.join(folder, name)
            relative = path[len(start) + 1 :].decode(errors="surrogateescape")
            item = known.pop(relative, None)
            if item is None:
                wrong.append(f"/{relative} is not part of the image")
            elif item.type != "unreadable" and (found := _observe(path)) != _expected(item):
                wrong.append(f"/{relative} of {item.owner}: is {found}, must be {_expected(item)}")
    missing = [item for item in known.values() if item.type != "unreadable"]  # what is in a closed folder is not seen
    wrong.extend(f"/{item.path} of {item.owner} is missing" for item in missing)
    return wrong


def _observe(path: bytes) -> str:
    if os.path.islink(path):
        return f"link to {os.readlink(path).decode(errors='surrogateescape')}"
    mode = os.lstat(path).st_mode & 0o7777
    if os.path.isdir(path):
        return f"folder {mode:04o}"
    return f"file {mode:04o} {_sha256(path)}"


def _expected(item: Item) -> str:
    if item.type == "link":
        return f"link to {item.target}"
    return f"folder {item.mode:04o}" if item.type == "folder" else f"file {item.mode:04o} {item.sha256}"


def _sha256(path: Path | bytes) -> str:
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _which(path: Path, sha256s: Sequence[str]) -> str:
    """Return which of the pinned digests a checked wheel has; the store names files by digest."""
    return path.name if path.name in sha256s else _sha256(path)


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps([FORMAT, *parts]).encode()).hexdigest()


def _open(planned: Plan, store: Store) -> Image | None:
    folder = store.folder("images", planned.key)
    try:
        made, found = layout.read(folder / "layout")
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
    if not (folder / "root" / "usr").is_dir() or not (folder / "inventory.jsonl").is_file():
        return None
    return Image(
        name=planned.recipe.name,
        platform=planned.recipe.platform,
        manifest_digest=made.manifest_digest,
        config_digest=made.config_digest,
        layers=found,
        layout=folder / "layout",
        root=folder / "root",
        inventory=folder / "inventory.jsonl",
    )


@dataclass
class _Assembly:
    """The work itself: content layers, root, byte code, documents."""

    planned: Plan
    store: Store
    pool: Workers
    processes: int
    scratch: Path
    run_in_root: RunInRoot
    progress: Progress
    log: Path

    def make(self, debs: Sequence[tuple[LockedDeb, Path]], wheels: Sequence[WheelFile]) -> None:
        """Make the image and publish it."""
        image = self.scratch / "image"
        make_folder(image)
        titles, content = self._content_layers(debs, wheels)
        listed = [list(layer.items()) for layer in content]
        visible = inventory.merge(listed)
        of_layer = _by_layer(visible, listed)
        self._write_root(image / "root", visible, content, of_layer)
        code_titles, code = self._bytecode_layers(image / "root", titles, of_layer)
        code_items = [list(layer.items()) for layer in code]
        make_root = inventory.merge(code_items)
        self._write_root(image / "root", make_root, code, code_items, there=visible)
        inventory.write(image / "inventory.jsonl", inventory.merge([visible, make_root]))
        self._write_layout(image / "layout", [*titles, *code_titles], [*content, *code])
        self.store.publish(image, "images", self.planned.key)

    # --- layers -------------------------------------------------------------------------------------------------------

    def _content_layers(
        self, debs: Sequence[tuple[LockedDeb, Path]], wheels: Sequence[WheelFile]
    ) -> tuple[list[str], list[MadeLayer]]:
        recipe = self.planned.recipe
        fits = target(recipe.platform, recipe.python)
        folders = (recipe.site_packages, *recipe.folders)
        jobs: list[_LayerJob] = [
            _LayerJob(
                "base",
                _key("base", recipe.base.model_dump(), folders, [deb.to_line() for deb, _ in debs]),
                layers.make_base_layer, (list(debs), recipe.base, folders),
                4 * sum(deb.size_bytes for deb, _ in debs),
            )
        ]  # fmt: skip
        for group in layers.group_wheels(wheels, recipe.layers):
            identity = [[wheel.name, wheel.version, wheel.sha256] for wheel in group.wheels]
            size = sum(wheel.path.stat().st_size for wheel in group.wheels)
            jobs.append(
                _LayerJob(
                    group.title, _key("wheels", recipe.site_packages, recipe.platform, recipe.python, identity),
                    layers.make_wheel_layer, (group.wheels, recipe.site_packages, fits), size,
                )
            )  # fmt: skip
        return [job.title for job in jobs], self._layers(jobs, "unpacking")

    def _bytecode_layers(
        self, image_root: Path, titles: Sequence[str], of_layer: Sequence[Sequence[Item]]
    ) -> tuple[list[str], list[MadeLayer]]:
        recipe = self.planned.recipe
        python = [deb.to_line() for deb in self.planned.debs if f"python{recipe.python}" in deb.name]
        script = bytecode.SCRIPT.read_text(encoding="utf-8")
        found: list[tuple[str, str, list[Item]]] = []
        for title, items in zip(titles, of_layer, strict=True):
            if sources := bytecode.sources(items, recipe):
                key = _key("bytecode", python, script, [[item.path, item.sha256, item.owner] for item in sources])
                found.append((f"byte code of {title}", key, sources))
        missing = [item for _, key, sources in found if self._cached(key) is None for item in sources]
        compiled: dict[str, bytecode.Compiled] = {}
        if missing:
            compiled = bytecode.compile_sources(
                image_root, missing, scratch=self.scratch, processes=self.processes, run_in_root=self.run_in_root,
                log=self.log, progress=self.progress,
            )  # fmt: skip
        jobs = [
            _LayerJob(
                title, key, bytecode.make_bytecode_layer,
                (sources, {item.path: compiled[item.path] for item in sources if item.path in compiled}, recipe.python),
                sum(item.size for item in sources),
            )
            for title, key, sources in found
        ]  # fmt: skip
        return [job.title for job in jobs], self._layers(jobs, "byte code")

    def _cached(self, key: str) -> MadeLayer | None:
        """Return a layer that an earlier assembly left, hashed again just now; a damaged one is removed."""
        folder = self.store.folder("layers", key)
        try:
            layer = layers.open_layer(folder)
        except (OSError, ValueError, KeyError):
            remove_tree(folder)
            return None
        if root.check_layer(layer) == layer.sha256:
            return layer
        remove_tree(folder)
        return None

    def _layers(self, jobs: Sequence[_LayerJob], text: str) -> list[MadeLayer]:
        """Make the layers that are not there yet, the biggest first, and return all in the order given."""
        made = {job.key: self._cached(job.key) for job in jobs}
        todo = sorted({job.key: job for job in jobs if made[job.key] is None}.values(), key=lambda job: -job.weight)
        folders = {job.key: make_folder(self.scratch / job.key) for job in todo}
        self._run([(job.function, (folders[job.key], *job.arguments), job.weight) for job in todo], text)
        for job in todo:
            made[job.key] = layers.open_layer(self.store.publish(folders[job.key], "layers", job.key))
        return [layer for job in jobs if (layer := made[job.key]) is not None]

    def _run(self, jobs: list[tuple[Callable[..., Any], tuple[Any, ...], int]], text: str) -> None:
        total = sum(weight for _, _, weight in jobs)
        passed = 0

        def done(weight: int) -> None:
            nonlocal passed
            passed += weight
            self.progress(passed, total, text)

        if jobs:
            self.progress(0, total, text)
            self.pool.run(jobs, done)

    # --- root and layout ----------------------------------------------------------------------------------------------

    def _write_root(
        self,
        image_root: Path,
        visible: Sequence[Item],
        made: Sequence[MadeLayer],
        of_layer: Sequence[Sequence[Item]],
        *,
        there: Sequence[Item] = (),
    ) -> None:
        """Write what is visible; where some wheels bring byte code themselves, what is `there` makes room for ours."""
        if not there:
            make_folder(image_root)
        known = {item.path for item in there}
        for item in visible:
            if item.path in known and item.type == "file":
                os.unlink(root.host_path(image_root, item))
        new = [item for item in visible if item.type != "file" and item.path not in known]
        self._run([(root.make_folders, (image_root, new), 1)], "folders")
        jobs: list[tuple[Callable[..., Any], tuple[Any, ...], int]] = []
        for layer, items in zip(made, of_layer, strict=True):
            jobs.extend(
                (root.write_files, (image_root, layer, part), sum(item.size for item in part))
                for part in root.parts(items, 2 * self.processes)
            )
        jobs.sort(key=lambda job: -job[2])
        self._run(jobs, "writing the root")

    def _write_layout(self, folder: Path, titles: Sequence[str], made: Sequence[MadeLayer]) -> None:
        recipe = self.planned.recipe
        listed = [
            Layer("sha256:" + layer.sha256, layer.size_bytes, title) for title, layer in zip(titles, made, strict=True)
        ]
        documents = layout.documents(listed, architecture=recipe.architecture, environment=recipe.environment)
        layout.write(make_folder(folder), documents, name=recipe.name, platform=recipe.platform)
        for layer in made:
            target = layout.blob(folder, layer.sha256)
            if not target.exists():
                os.link(layer.tar, target)


@dataclass(frozen=True, slots=True)
class _LayerJob:
    """A layer to be had: from the store under `key`, or by `function(folder, *arguments)` in a worker."""

    title: str
    key: str
    function: Callable[..., None]
    arguments: tuple[Any, ...]
    weight: int


def _by_layer(visible: Sequence[Item], listed: Sequence[Sequence[Item]]) -> list[list[Item]]:
    """Return of each layer the items that no later layer covers."""
    top = {item.path: item for item in visible}
    return [[item for item in items if top[item.path] is item] for items in listed]
