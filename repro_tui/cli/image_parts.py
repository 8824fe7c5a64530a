"""What the commands of `repro-tui image` share: options, which image is meant, and how one is printed."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.cli import console

if TYPE_CHECKING:
    from repro_tui.artifacts.store import Store
    from repro_tui.images.model import Image
    from repro_tui.images.recipe import Recipe

_PLATFORMS = ("linux/amd64", "linux/arm64")
_SELDOM_S = 10.0


def add_platform(parser: argparse.ArgumentParser) -> None:
    """Add --platform."""
    parser.add_argument("--platform", choices=_PLATFORMS, default=_PLATFORMS[0], help="default: %(default)s")


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add --store."""
    parser.add_argument("--store", metavar="DIR", type=Path, help="folder of the store (default: $REPRO_TUI_STORE)")


def add_mirrors(parser: argparse.ArgumentParser) -> None:
    """Add --mirror and --offline."""
    from repro_tui.artifacts.mirrors import ENV_MIRROR

    parser.add_argument(
        "--mirror", metavar="DIR", type=Path, action="append", default=[],
        help=f"folder with files named by digest or in a SHA256SUMS file; repeatable; also ${ENV_MIRROR}",
    )  # fmt: skip
    parser.add_argument("--offline", action="store_true", help="use the store and mirrors only")


def add_recipe(parser: argparse.ArgumentParser, *, words: str = "the recipe: images/NAME/image.toml") -> None:
    """Add NAME, --recipe and --lock."""
    parser.add_argument("name", metavar="NAME", help=words)
    parser.add_argument(
        "--recipe", metavar="FILE", type=Path, help="the recipe's file (default: images/NAME/image.toml)"
    )
    parser.add_argument("--lock", metavar="FILE", type=Path, help="dependency lock (default: lockfiles/NAME.txt)")


def whole(get: Callable[[], Image]) -> Image:
    """Return the image of `get`, every layer and file hashed again; where one differs it is removed and had anew."""
    from repro_tui.artifacts.store import remove_tree
    from repro_tui.images.assemble import verify_image

    image = get()
    wrong = verify_image(image)
    if not wrong:
        return image
    for line in wrong:
        console.say(f"damaged: {line}")
    remove_tree(image.layout.parent)
    return get()


def chosen_recipe(arguments: argparse.Namespace) -> tuple[Recipe, Path]:
    """Return the recipe and the dependency lock that are asked for."""
    from repro_tui.images.recipe import find_lock, find_recipe, load_recipe

    recipe = (
        load_recipe(arguments.recipe, arguments.platform)
        if arguments.recipe is not None
        else find_recipe(arguments.name, arguments.platform)
    )
    return recipe, arguments.lock or find_lock(arguments.name)


def chosen_image(arguments: argparse.Namespace, store: Store) -> Image:
    """Return the image in the store that NAME means: a recipe's, or one that was pulled, by its reference."""
    from repro_tui.errors import UsageError
    from repro_tui.images.assemble import find_image
    from repro_tui.images.pulled import find_pulled

    name: str = arguments.name
    if "@" in name:
        image = find_pulled(name, arguments.platform, store=store)
        command = "pull"
    else:
        image = find_image(*chosen_recipe(arguments), store=store)
        command = "build"
    if image is None:
        raise UsageError(
            f"the image {name} is not in the store", where=str(store.root), hint=f"repro-tui image {command} {name}"
        )
    return image


def store_of(arguments: argparse.Namespace) -> Store:
    """Return the store that is asked for."""
    from repro_tui.artifacts.store import Store, default_store_path

    return Store(arguments.store or default_store_path())


class Progress:
    """A line on stderr whenever something else is being done, and how far it is: at once on a terminal, else seldom."""

    def __init__(self) -> None:
        self._text = ""
        self._said_at = 0.0

    def __call__(self, done: int, total: int, text: str) -> None:
        """Take note of what is done now; `done` and `total` are bytes."""
        now = time.monotonic()
        if text and text != self._text:
            self._text, self._said_at = text, now
            console.say(f"{text}{f' ({total / 1e6:.0f} MB)' if total >= 10**6 else ''}")
        elif total >= 10**6 and done < total:
            line = f"  {done / 1e6:.0f} of {total / 1e6:.0f} MB, {100 * done // total} %"
            if not console.status(line) and now - self._said_at >= _SELDOM_S:
                self._said_at = now
                console.say(line)


def as_json(image: Image, elapsed_s: float) -> str:
    """Return what an image is, as JSON."""
    body = {
        "name": image.name,
        "platform": image.platform,
        "manifest_digest": image.manifest_digest,
        "config_digest": image.config_digest,
        "origin": image.origin,
        **({"reference": image.reference, "index_digest": image.index_digest} if image.reference else {}),
        "layers": [
            {"title": layer.title, "digest": layer.digest, "size_bytes": layer.size_bytes} for layer in image.layers
        ],
        "size_bytes": sum(layer.size_bytes for layer in image.layers),
        "layout": str(image.layout),
        "elapsed_s": round(elapsed_s, 3),
    }
    return json.dumps(body, indent=2) + "\n"


def as_text(image: Image, elapsed_s: float) -> str:
    """Return what an image is, for people."""
    size_bytes = sum(layer.size_bytes for layer in image.layers)
    lines = [
        f"image     {image.name} ({image.platform})",
        *([f"index     {image.index_digest}"] if image.index_digest else []),
        f"manifest  {image.manifest_digest}",
        f"config    {image.config_digest}",
        f"layout    {image.layout}",
        "layers",
        *(f"  {layer.size_bytes / 1e6:9.1f} MB  {layer.digest}  {layer.title}" for layer in image.layers),
        f"  {size_bytes / 1e6:9.1f} MB in {len(image.layers)} layers, {elapsed_s:.1f} s",
    ]
    return "\n".join(lines) + "\n"
