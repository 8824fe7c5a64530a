"""`repro-tui image pull`, `push` and `export`: images from and to registries, and as files."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from repro_tui.cli import console
from repro_tui.cli.image_parts import (
    Progress,
    add_mirrors,
    add_platform,
    add_recipe,
    add_store,
    as_json,
    as_text,
    chosen_image,
    store_of,
    whole,
)

_WHICH = "a recipe whose image was assembled here, or REFERENCE@DIGEST of one that was pulled"


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to those of `repro-tui image`."""
    pulling = commands.add_parser(
        "pull",
        help="pull an image by digest into the store, and print its digests",
        description="Pull an image by digest into the store and unpack it for the embedded engine. Credentials are "
        "those of `docker login` or `podman login`. What is here is not fetched again.",
        allow_abbrev=False,
    )
    pulling.add_argument("reference", metavar="REFERENCE", help="[HOST[:PORT]/]NAME@sha256:DIGEST")
    pulling.add_argument(
        "--verify", action="store_true", help="hash every layer and file again; anew where one differs"
    )
    pulling.add_argument("--json", action="store_true", help="print JSON to stdout")
    add_store(pulling)
    add_mirrors(pulling)
    add_platform(pulling)
    pulling.set_defaults(run=run_pull)

    pushing = commands.add_parser(
        "push",
        help="push an image to a registry, and print its reference by digest",
        description="Push an image to a registry: the layers that are not there yet, and the manifest unchanged. "
        "Prints NAME@DIGEST, as image.reference takes it.",
        allow_abbrev=False,
    )
    add_recipe(pushing, words=_WHICH)
    pushing.add_argument("target", metavar="REFERENCE", help="[HOST[:PORT]/]NAME[:TAG]; without a tag none is moved")
    pushing.add_argument("--json", action="store_true", help="print JSON to stdout")
    add_store(pushing)
    add_platform(pushing)
    pushing.set_defaults(run=run_push)

    exporting = commands.add_parser(
        "export",
        help="write an image as an OCI layout: a folder, or a .tar file",
        description="Write an image as an OCI layout, to a new folder, or to a file whose name ends with .tar. "
        "The same image gives the same bytes. Such a folder is a mirror: --mirror DIR serves the image from it.",
        allow_abbrev=False,
    )
    add_recipe(exporting, words=_WHICH)
    exporting.add_argument("target", metavar="DIR|FILE.tar", type=Path, help="what is written; must not be there yet")
    exporting.add_argument("--json", action="store_true", help="print JSON to stdout")
    add_store(exporting)
    add_platform(exporting)
    exporting.set_defaults(run=run_export)


def run_pull(arguments: argparse.Namespace) -> int:
    """Pull an image and print what it is."""
    from repro_tui.artifacts.mirrors import mirrors_from
    from repro_tui.images.model import Image
    from repro_tui.images.pulled import pull

    started = time.monotonic()
    mirrors, store, progress = mirrors_from(arguments.mirror), store_of(arguments), Progress()

    def pulled() -> Image:
        return pull(
            arguments.reference, arguments.platform, store=store, progress=progress, offline=arguments.offline,
            mirrors=mirrors, notify=console.say,
        )  # fmt: skip

    image = whole(pulled) if arguments.verify else pulled()
    elapsed_s = time.monotonic() - started
    console.data(as_json(image, elapsed_s) if arguments.json else as_text(image, elapsed_s))
    return 0


def run_push(arguments: argparse.Namespace) -> int:
    """Push an image and print its reference by digest."""
    from repro_tui.images.registry.push import push

    image = chosen_image(arguments, store_of(arguments))
    reference = push(image, arguments.target, progress=Progress(), notify=console.say)
    body = {
        "reference": reference, "manifest_digest": image.manifest_digest, "config_digest": image.config_digest,
        "diff_ids": list(image.diff_ids),
    }  # fmt: skip
    console.data(json.dumps(body, indent=2) + "\n" if arguments.json else f"{reference}\n")
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """Write an image to a folder or a file, and print where."""
    from repro_tui.images.export import export

    image = chosen_image(arguments, store_of(arguments))
    path = export(image, arguments.target, progress=Progress())
    body = {"path": str(path), "manifest_digest": image.manifest_digest, "config_digest": image.config_digest}
    console.data(json.dumps(body, indent=2) + "\n" if arguments.json else f"{path}\n")
    return 0
