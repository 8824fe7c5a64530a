"""What goes into a bundle: manifest and the files it names, artifacts, the image or its parts, the recorded run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Literal

from repro_tui.artifacts.digests import sha256_file
from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.sources.base import Progress
from repro_tui.artifacts.store import Store
from repro_tui.bundles.index import LeftOut, Member, Role, path_fault
from repro_tui.engines.embedded import run_in_root
from repro_tui.errors import DriftError, UsageError
from repro_tui.images import layout
from repro_tui.images.assemble import assemble, find_image, plan
from repro_tui.images.model import Image
from repro_tui.images.pulled import pull
from repro_tui.images.recipe import Recipe, find_recipe
from repro_tui.manifest.code import builtin_code_files
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.manifest.models import Artifact, Stage
from repro_tui.manifest.trees import tree_digest, tree_files
from repro_tui.runs.words import size

_LEVEL = "up"
"""Stands for each folder above the manifest's that its files are named through."""

_MEDIA_TYPES = {
    ".csv": "text/csv", ".tsv": "text/tab-separated-values", ".tab": "text/tab-separated-values", ".txt": "text/plain",
    ".md": "text/markdown", ".py": "text/x-python", ".toml": "application/toml", ".json": "application/json",
    ".jsonl": "application/x-ndjson", ".log": "text/plain", ".cff": "application/yaml", ".lock": "text/plain",
}  # fmt: skip
"""Not the host's own table, which differs from host to host."""


@dataclass(frozen=True, slots=True)
class Content:
    """A member, and where its bytes are: in a file that holds still, or here."""

    member: Member
    source: Path | bytes
    licence: str | None = None


@dataclass
class Wish:
    """What the author asks for."""

    image: Literal["parts", "oci"] | None = None
    exclude: Sequence[str] = ()
    """Names of artifacts."""
    exclude_licences: Sequence[str] = ()
    """Patterns of licences, as a shell has them."""
    max_bytes: int | None = None
    """Larger artifacts are left out."""


@dataclass
class Gathered:
    """Everything so far, by its path in the bundle; what is there twice (by digest) is one member."""

    contents: dict[str, Content] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)

    def add(
        self, path: str, source: Path | bytes, role: Role, *, name: str = "", executable: bool = False,
        sha256: str = "", media_type: str = "", licence: str | None = None,
    ) -> None:  # fmt: skip
        """Add a member; `sha256` where the caller knows it of checked bytes. Raises UsageError for an unfit path."""
        if (fault := path_fault(path)) is not None:
            raise UsageError(f"{path!r} cannot be in a bundle: {fault}", where=str(source)[:200], hint="rename it")
        length = len(source) if isinstance(source, bytes) else source.stat().st_size
        if not sha256:
            sha256 = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else sha256_file(source)
        kind = media_type or _MEDIA_TYPES.get(PurePosixPath(path).suffix.lower(), "application/octet-stream")
        member = Member(
            path=path, bytes=length, sha256=sha256, role=role, media_type=kind, name=name, executable=executable
        )
        self.contents.setdefault(path, Content(member, source, licence))

    @property
    def members(self) -> list[Member]:
        """All members, sorted as they lie in the bundle."""
        return [self.contents[path].member for path in sorted(self.contents, key=str.encode)]


def add_experiment(found: Gathered, loaded: LoadedManifest) -> str:
    """Add the manifest with its lock and record, each where the manifest's relative names find it; return its path."""
    manifest = loaded.manifest
    if manifest.image.dockerfile is not None:
        raise UsageError(
            "an image that is built from a Dockerfile is another each time, and building it needs the network",
            where="image.dockerfile",
            hint="push what was built and pin it by digest in image.reference; then pack",
        )
    named: list[tuple[str, Role, str]] = []
    if manifest.environment.lock is not None:
        named.append((manifest.environment.lock, "lock", "environment.lock"))
    if manifest.recorded is not None:
        named.append((manifest.recorded.file, "record", "recorded.file"))
    named += [
        (artifact.listing, "listing", f"artifacts.{artifact.name}.listing")  # the tree digest pins what it says
        for artifact in manifest.artifacts
        if artifact.listing is not None
    ]
    folder = PurePosixPath("experiment", *[_LEVEL] * max((_climbs(name, key) for name, _, key in named), default=0))
    path = str(folder / loaded.path.name)
    name = manifest.experiment.name
    found.add(path, loaded.text.encode(), "manifest", name=name, licence=manifest.experiment.licence)
    for relative, role, key in named:
        content = loaded.resolve(relative).read_bytes()
        pinned = manifest.environment.lock_sha256 if role == "lock" else manifest.recorded and manifest.recorded.sha256
        if role != "listing" and hashlib.sha256(content).hexdigest() != pinned:
            raise DriftError(f"{relative} changed while it was read", component=role, where=key, hint="pack again")
        found.add(_joined(folder, relative), content, role, name=PurePosixPath(relative).name)
    return path


def add_recipe(found: Gathered, recipe: Recipe, manifest_path: str) -> None:
    """Add the recipe and its base lock where they are looked for first: beside the manifest."""
    images = PurePosixPath(manifest_path).parent / "images"
    own = images / recipe.name
    found.add(str(own / recipe.path.name), recipe.path.read_bytes(), "recipe", name=recipe.name)
    base = recipe.base_lock.parent
    if base != recipe.path.parent:
        found.add(str(images / base.name / recipe.path.name), base / recipe.path.name, "recipe", name=base.name)
    found.add(
        str(images / base.name / recipe.base_lock.name), recipe.base_lock.read_bytes(), "base lock", name=base.name
    )


def add_artifacts(found: Gathered, artifacts: Sequence[Artifact], wish: Wish, fetcher: Fetcher) -> None:
    """Fetch and add each artifact that the author does not leave out."""
    unknown = set(wish.exclude) - {artifact.name for artifact in artifacts}
    if unknown:
        raise UsageError(
            f"there is no artifact {', '.join(sorted(unknown))}", where="--exclude",
            hint=f"there are: {', '.join(artifact.name for artifact in artifacts)}",
        )  # fmt: skip
    kept: list[Artifact] = []
    for artifact in artifacts:
        reason = _why_left_out(artifact, wish)
        if reason is None:
            kept.append(artifact)
            continue
        found.left_out.append(
            LeftOut(
                artifact=artifact.name, sha256=artifact.sha256, tree_sha256=artifact.tree_sha256,
                bytes=artifact.bytes, licence=artifact.licence, reason=reason,
            )
        )  # fmt: skip
    for artifact, path in zip(kept, fetcher.artifacts(kept), strict=True):
        licence = artifact.licence or None
        if artifact.sha256 is not None:
            media_type = _MEDIA_TYPES.get(PurePosixPath(artifact.path).suffix.lower(), "")
            found.add(
                f"blobs/{artifact.sha256}", path, artifact.kind, name=artifact.name, sha256=artifact.sha256,
                media_type=media_type, licence=licence,
            )  # fmt: skip
            continue
        for relative, file in tree_files(path).items():
            found.add(
                f"trees/{artifact.tree_sha256}/{relative}", file, artifact.kind, name=artifact.name,
                executable=bool(file.stat().st_mode & 0o100), licence=licence,
            )  # fmt: skip


def add_task_code(found: Gathered, loaded: LoadedManifest, fetcher: Fetcher) -> None:
    """Add the code of a built-in task as it is pinned, so that a reader's own version of it does not matter."""
    for stage in loaded.manifest.every_stage:
        _add_code_of(found, stage, fetcher)


def _add_code_of(found: Gathered, stage: Stage, fetcher: Fetcher) -> None:
    task = stage.task
    if task.name is None or task.code_sha256 is None:
        return
    files = builtin_code_files(task.name)
    if (observed := tree_digest(files)) != task.code_sha256:
        folder = fetcher.held_tree(task.code_sha256, "the task's code")
        if folder is None:
            raise DriftError(
                f"the code of the built-in task {task.name} has digest {observed}, the pin says {task.code_sha256}",
                component="job", where=stage.key("task", "code_sha256"),
                hint="pack with the version of repro-tui that the manifest was recorded with; a folder with that code "
                "in the store or in a mirror does too",
            )  # fmt: skip
        files = tree_files(folder)
    for relative, file in files.items():
        found.add(
            f"trees/{task.code_sha256}/{relative}", file, "code", name=task.name,
            executable=bool(file.stat().st_mode & 0o100),
        )  # fmt: skip


def add_image(
    found: Gathered, loaded: LoadedManifest, manifest_path: str, wish: Wish, *, store: Store, fetcher: Fetcher,
    mirrors: Sequence[Path], offline: bool, progress: Progress, say: Callable[[str], None],
) -> Literal["parts", "oci"]:  # fmt: skip
    """Add what the image is made of, or the image; return which."""
    pinned = loaded.manifest.image
    recipe = None
    if pinned.recipe is not None:
        near = (loaded.path.absolute().parent, loaded.path.absolute().parent.parent)
        recipe = find_recipe(pinned.recipe, pinned.platform, near=near)
        add_recipe(found, recipe, manifest_path)
    how = wish.image or ("oci" if recipe is None or pinned.reference is not None else "parts")
    if how == "parts":
        if recipe is None or pinned.reference is not None:
            raise UsageError(
                "the manifest pulls its image, so its parts are not what a run would use",
                where="image.reference", hint="pack with --image oci",
            )  # fmt: skip
        lock = loaded.resolve(loaded.manifest.environment.lock or "")
        _add_parts(found, recipe, lock, store=store, fetcher=fetcher, say=say)
        return "parts"
    if pinned.reference is None and pinned.manifest_digest is None:
        raise UsageError(
            "an assembled image is packed as a whole only where the manifest pins which it is",
            where="image.manifest_digest", hint="pin it (`repro-tui lock` does), or pack with --image parts",
        )  # fmt: skip
    image = _whole_image(loaded, recipe, store, fetcher, mirrors, offline=offline, progress=progress)
    if pinned.manifest_digest not in {None, image.manifest_digest}:
        raise DriftError(
            f"the image has digest {image.manifest_digest}, the manifest pins {pinned.manifest_digest}",
            component="image", where="image.manifest_digest", hint="`repro-tui run` says what differs",
        )  # fmt: skip
    _add_layout(found, image)
    size_bytes = sum(content.member.bytes for content in found.contents.values() if content.member.role == "image")
    say(f"image: {len(image.layers)} layers, {size(size_bytes)}")
    return "oci"


def _add_parts(
    found: Gathered, recipe: Recipe, lock: Path, *, store: Store, fetcher: Fetcher, say: Callable[[str], None]
) -> None:
    planned = plan(recipe, lock)
    size_bytes = 0
    for deb, path in zip(planned.debs, fetcher.debs(planned.debs), strict=True):
        name = f"{deb.name} {deb.version}"
        found.add(
            f"blobs/{deb.sha256}", path, "deb", name=name, sha256=deb.sha256,
            media_type="application/vnd.debian.binary-package",
        )  # fmt: skip
        size_bytes += path.stat().st_size
    for wheel, path in zip(planned.wheels, fetcher.wheels(planned.wheels), strict=True):
        sha256 = path.name if path.name in wheel.sha256s else sha256_file(path)
        name = f"{wheel.name} {wheel.version}"
        found.add(f"blobs/{sha256}", path, "wheel", name=name, sha256=sha256, media_type="application/zip")
        size_bytes += path.stat().st_size
    words = f"image: {len(planned.debs)} packages and {len(planned.wheels)} wheels, {size(size_bytes)}"
    image = find_image(recipe, lock, store=store)
    if image is not None:
        words += f" (as layers it would be {size(sum(layer.size_bytes for layer in image.layers))})"
    say(words)


def _whole_image(
    loaded: LoadedManifest, recipe: Recipe | None, store: Store, fetcher: Fetcher, mirrors: Sequence[Path], *,
    offline: bool, progress: Progress,
) -> Image:  # fmt: skip
    pinned = loaded.manifest.image
    if pinned.reference is not None:
        return pull(pinned.reference, pinned.platform, store=store, progress=progress, offline=offline, mirrors=mirrors)
    if recipe is None:
        raise RuntimeError("an image comes from a reference or a recipe")
    lock = loaded.resolve(loaded.manifest.environment.lock or "")
    return assemble(recipe, lock, store=store, fetcher=fetcher, run_in_root=run_in_root, progress=progress)


def _add_layout(found: Gathered, image: Image) -> None:
    """Add an image as an OCI layout; of a pulled one the index too that its reference names."""
    digests = {image.manifest_digest, image.config_digest, *(layer.blob for layer in image.layers)}
    digests |= {image.index_digest} if image.index_digest else set()
    for digest in digests:
        sha256 = digest.removeprefix("sha256:")
        found.add(
            f"image/blobs/sha256/{sha256}", layout.blob(image.layout, digest), "image", name=image.name, sha256=sha256
        )
    for name in ("index.json", "oci-layout"):
        content = (image.layout / name).read_bytes()
        found.add(f"image/{name}", content, "image", name=image.name, media_type="application/json")


def _why_left_out(artifact: Artifact, wish: Wish) -> str | None:
    if artifact.name in wish.exclude:
        return "left out by its name"
    licence = artifact.licence.casefold()
    if any(fnmatchcase(licence, pattern.casefold()) for pattern in wish.exclude_licences):
        return f"left out by its licence: {artifact.licence or 'none is named'}"
    if wish.max_bytes is not None and artifact.bytes > wish.max_bytes:
        return f"left out by its size: {artifact.bytes} bytes"
    return None


def _climbs(relative: str, key: str) -> int:
    """Return how many folders above the manifest's a relative name climbs; raises UsageError for an absolute one."""
    if PurePosixPath(relative).is_absolute() or relative.startswith("~"):
        raise UsageError(
            f"{relative!r} is a place on this machine only", where=key,
            hint="name the file relative to the manifest: it is in the bundle at the same place",
        )  # fmt: skip
    depth = lowest = 0
    for part in _parts(relative):
        depth += -1 if part == ".." else 1
        lowest = min(lowest, depth)
    return -lowest


def _joined(folder: PurePosixPath, relative: str) -> str:
    parts = list(folder.parts)
    for part in _parts(relative):
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _parts(relative: str) -> Iterator[str]:
    return (part for part in PurePosixPath(relative).parts if part != ".")
