"""The assembly recipe: images/<name>/image.toml and the base lock beside it (docs/images.md describes every key)."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from repro_tui.errors import ManifestError


def _inside(value: str) -> str:
    if not value or value.startswith("/") or "\0" in value or ".." in value.split("/"):
        raise ValueError("a path relative to the image's root, without '..', is allowed here")
    return value


_Path = Annotated[str, AfterValidator(_inside)]
_Package = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]

ARCHITECTURES: Mapping[str, str] = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
"""Platform to the machine's name, as the kernel and wheel tags write it."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BaseRules(_Table):
    """Which Debian packages the base is made of, and what of them is kept. Paths are relative to the image's root."""

    release: _Package
    packages: Annotated[list[_Package], Field(min_length=1)]
    """What is wanted; the lock holds these and what they depend on."""
    leave_out: list[_Package] = []
    """Dependencies that only maintainer scripts would use."""
    drop: list[_Path] = []
    """Files and folders (ending in "/") that are not unpacked; `*` matches within one path component."""
    keep: list[_Path] = []
    """Exceptions to `drop`."""
    links: dict[_Path, str] = {}
    """Symbolic links to add: what `update-alternatives` would have made."""


class BytecodeRules(_Table):
    """Which Python files get byte code."""

    leave_out: list[str] = []
    """Names of folders, at any depth, whose files get none."""


class LayerRules(_Table):
    """How wheels become layers."""

    own_layer_bytes: Annotated[int, Field(ge=1)] = 4 << 20
    """A wheel file of this size or more is a layer of its own."""
    buckets: Annotated[int, Field(ge=1, le=32)] = 8
    """The others are spread over so many layers by the hash of their name."""


class _RecipeFile(_Table):
    schema_: Literal[1] = Field(alias="schema")
    python: Annotated[str, StringConstraints(pattern=r"^3\.\d+$")]
    base: BaseRules | None = None
    base_of: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] | None = None
    """In place of `base`: the recipe beside this one whose base, with its lock, this image has too."""
    folders: list[_Path] = []
    """Empty folders to add, to mount on."""
    environment: dict[str, str] = {}
    bytecode: BytecodeRules = BytecodeRules()
    layers: LayerRules = LayerRules()


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe for one platform. `base_lock` may not exist yet: `repro-tui image lock-base` makes it."""

    name: str
    path: Path
    platform: str
    python: str
    base: BaseRules
    folders: tuple[str, ...]
    environment: Mapping[str, str]
    bytecode: BytecodeRules
    layers: LayerRules
    base_lock: Path
    sha256: str = field(default="")
    """Of image.toml, and of the recipe's that it takes its base from."""

    @property
    def site_packages(self) -> str:
        """Where wheels go, relative to the root: where Debian's Python looks first (site.py)."""
        return f"usr/local/lib/python{self.python}/dist-packages"

    @property
    def architecture(self) -> str:
        """Debian's and OCI's name of the processor: "amd64"."""
        return self.platform.partition("/")[2]


def search_path() -> tuple[Path, ...]:
    """Folders that hold `images` and `lockfiles`, in the order looked: the working directory, then what is shipped."""
    package = Path(__file__).resolve().parent.parent
    return (Path.cwd(), package / "_data", package.parent)


def find_recipe(name: str, platform: str = "linux/amd64", *, near: Sequence[Path] = ()) -> Recipe:
    """Find and load a recipe by name, looking beside `near` first; raises ManifestError where there is none."""
    folders = [*near, *search_path()]
    for folder in folders:
        path = folder / "images" / name / "image.toml"
        if path.is_file():
            return load_recipe(path, platform)
    raise ManifestError(
        f"there is no image recipe named {name!r}",
        where=", ".join(str(folder / "images" / name / "image.toml") for folder in dict.fromkeys(folders)),
        hint=f"known recipes: {', '.join(known_recipes()) or 'none'}",
    )


def known_recipes() -> list[str]:
    """Return the names of all recipes found."""
    return sorted({path.parent.name for folder in search_path() for path in folder.glob("images/*/image.toml")})


def find_lock(name: str) -> Path:
    """Return the wheel lock that goes with a recipe: lockfiles/<name>.txt; raises ManifestError where there is none."""
    paths = [folder / "lockfiles" / f"{name}.txt" for folder in search_path()]
    for path in paths:
        if path.is_file():
            return path
    raise ManifestError(
        f"there is no wheel lock for the image {name!r}",
        where=", ".join(map(str, paths)),
        hint="name one with --lock",
    )


def load_recipe(path: Path, platform: str = "linux/amd64") -> Recipe:
    """Load one image.toml; raises ManifestError that holds every problem in it."""
    if platform not in ARCHITECTURES:
        raise ManifestError(
            f"platform {platform!r} is not supported", where=str(path), hint=f"allowed: {', '.join(ARCHITECTURES)}"
        )
    file, data = _read(path)
    base, base_path = file.base, path
    if file.base_of is not None:
        base_path = path.parent.parent / file.base_of / path.name
        other, other_data = _read(base_path)
        base, data = other.base, data + other_data
    if (file.base is None) == (file.base_of is None) or base is None:
        raise ManifestError(
            "a recipe has a base of its own ([base]) or that of another recipe (base_of), which has one of its own",
            where=str(path),
            hint="docs/images.md describes every key",
        )
    architecture = platform.partition("/")[2]
    return Recipe(
        name=path.parent.name,
        path=path,
        platform=platform,
        python=file.python,
        base=base,
        folders=tuple(file.folders),
        environment=file.environment,
        bytecode=file.bytecode,
        layers=file.layers,
        base_lock=base_path.parent / ("base.lock" if architecture == "amd64" else f"base.{architecture}.lock"),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _read(path: Path) -> tuple[_RecipeFile, bytes]:
    try:
        data = path.read_bytes()
        return _RecipeFile.model_validate(tomllib.loads(data.decode())), data
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ManifestError(f"the recipe cannot be read: {error}", where=str(path)) from None
    except ValidationError as error:
        problems = [f"{path}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        raise ManifestError(
            "the recipe is not valid", where=str(path), hint="docs/images.md describes every key", problems=problems
        ) from None
