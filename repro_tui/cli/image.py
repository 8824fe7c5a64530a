"""`repro-tui image`: assemble an image on its own, list the recipes, make a recipe's base lock.

Its commands for registries are in cli/image_registry.py.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.cli import console, image_registry
from repro_tui.cli.image_parts import (
    Progress,
    add_mirrors,
    add_platform,
    add_recipe,
    add_store,
    as_json,
    as_text,
    chosen_recipe,
    store_of,
    whole,
)

if TYPE_CHECKING:
    from repro_tui.images.model import Image
    from repro_tui.images.recipe import Recipe

ENV_DEBIAN_MIRROR = "REPRO_TUI_DEBIAN_MIRROR"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its own commands to the command line."""
    parser = subparsers.add_parser("image", help="assemble, pull, push or export an image")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    build = commands.add_parser(
        "build",
        help="assemble an image and print its digests, layers and sizes",
        description="Assemble the image of a recipe and a dependency lock. The same locks give the same digests, "
        "on every machine. Nothing is done again where nothing changed.",
        allow_abbrev=False,
    )
    add_recipe(build)
    build.add_argument(
        "--verify", action="store_true", help="hash every layer and file again; remade where one differs"
    )
    build.add_argument("--json", action="store_true", help="print JSON to stdout")
    add_store(build)
    add_mirrors(build)
    build.add_argument("--debian-mirror", metavar="URL", help=f"any Debian mirror; also ${ENV_DEBIAN_MIRROR}")
    add_platform(build)
    build.set_defaults(run=run_build)

    listing = commands.add_parser(
        "list", help="list the recipes, and which images are in the store", allow_abbrev=False
    )
    listing.add_argument("--json", action="store_true", help="as a JSON array")
    add_store(listing)
    listing.set_defaults(run=run_list)

    lock = commands.add_parser(
        "lock-base",
        help="resolve a recipe's Debian packages anew and write its base lock",
        description="Resolve a recipe's Debian packages with apt-get, as an ordinary user, and write its base lock.",
        allow_abbrev=False,
    )
    lock.add_argument("name", metavar="NAME", help="the recipe: images/NAME/image.toml")
    lock.add_argument("--stdout", action="store_true", help="print the lock instead of writing it")
    add_platform(lock)
    lock.set_defaults(run=run_lock_base)

    image_registry.add_parsers(commands)


def run_build(arguments: argparse.Namespace) -> int:
    """Assemble an image and print what it is."""
    from repro_tui.artifacts.fetch import Fetcher
    from repro_tui.artifacts.mirrors import mirrors_from
    from repro_tui.engines.embedded import run_in_root
    from repro_tui.images.assemble import assemble

    started = time.monotonic()
    recipe, lock = chosen_recipe(arguments)
    mirrors = mirrors_from(arguments.mirror)
    store = store_of(arguments)
    progress = Progress()
    fetcher = Fetcher(
        store, mirrors, base=Path.cwd(), offline=arguments.offline, debian_mirror=arguments.debian_mirror,
        notify=console.say, progress=progress,
    )  # fmt: skip

    def made() -> Image:
        return assemble(recipe, lock, store=store, fetcher=fetcher, run_in_root=run_in_root, progress=progress)

    image = whole(made) if arguments.verify else made()
    elapsed_s = time.monotonic() - started
    console.data(as_json(image, elapsed_s) if arguments.json else as_text(image, elapsed_s))
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Print the recipes."""
    from repro_tui.errors import ManifestError
    from repro_tui.images.assemble import find_image
    from repro_tui.images.recipe import find_lock, find_recipe, known_recipes

    store = store_of(arguments)
    rows: list[dict[str, str]] = []
    for name in known_recipes():
        recipe = find_recipe(name)
        try:
            image = find_image(recipe, find_lock(name), store=store)
        except ManifestError as error:
            console.say(f"{name}: {error.message}")
            image = None
        digest = image.manifest_digest if image else ""
        rows.append({"name": name, "platform": recipe.platform, "recipe": str(recipe.path), "manifest_digest": digest})
    if arguments.json:
        console.data(json.dumps(rows, indent=2) + "\n")
    else:
        for row in rows:
            console.data(f"{row['name']:16} {row['platform']:12} {row['manifest_digest'] or 'not assembled here'}\n")
    return 0


def run_lock_base(arguments: argparse.Namespace) -> int:
    """Write a base lock."""
    import tempfile

    from repro_tui.images.base_lock import lock_text, resolve_base
    from repro_tui.images.recipe import find_recipe

    recipe: Recipe = find_recipe(arguments.name, arguments.platform)
    with tempfile.TemporaryDirectory(prefix="repro-tui-") as state:
        text = lock_text(recipe, resolve_base(recipe, Path(state)))
    if arguments.stdout:
        console.data(text)
        return 0
    new = recipe.base_lock.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(recipe.base_lock)
    console.say(f"wrote {recipe.base_lock}")
    return 0
