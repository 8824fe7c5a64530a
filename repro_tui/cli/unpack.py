"""`repro-tui unpack BUNDLE [DIR]`: check every byte of a bundle, list it, or write its files into a new folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro_tui.cli import console
from repro_tui.cli.image_parts import Progress
from repro_tui.errors import UsageError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "unpack",
        help="check a bundle, list what is in it, or write its files into a folder",
        description="Check every byte of a bundle and write its files into a new folder; without DIR nothing is "
        "written, and what is in it is listed. Nothing of it is run.",
        allow_abbrev=False,
    )
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a file that `repro-tui pack` made")
    parser.add_argument("folder", metavar="DIR", type=Path, nargs="?", help="a folder that is not there yet")
    parser.add_argument("--json", action="store_true", help="print the index, as it is in the bundle, to stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, and unpack or list; exit code 0, or 2 for a bundle that is refused."""
    from repro_tui.bundles.index import render
    from repro_tui.bundles.opening import unpack
    from repro_tui.bundles.reading import verify
    from repro_tui.runs.words import printable, size

    if arguments.folder is None:
        index = verify(arguments.bundle, Progress())
    elif arguments.folder.exists():
        raise UsageError(f"{arguments.folder} is there already", where="DIR", hint="name a folder that is not")
    else:
        index = unpack(arguments.bundle, arguments.folder, progress=Progress())
    if arguments.json:
        console.data(render(index).decode())
        return 0
    for member in index.files:
        what = printable(f"{member.bytes:>12}  {member.role:<11}  {member.path}  {member.name}")
        if not console.data(f"{member.sha256}  {what}\n"):
            return 0
    for each in index.left_out:
        digest = each.sha256 or each.tree_sha256
        console.say(printable(f"not in it: {each.artifact} ({each.reason}), {each.bytes} bytes, {digest}"))
    console.say(f"{arguments.bundle}: {len(index.files)} files as the index says, {size(index.size_bytes)}")
    return 0
