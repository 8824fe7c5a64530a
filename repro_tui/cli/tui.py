"""`repro-tui`, `repro-tui PATH`: the terminal UI on the manifests of a folder, one manifest, or one run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.cli import console
from repro_tui.cli.options import add_runs, folder_of_runs
from repro_tui.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from repro_tui.tui.app import Opening


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "tui",
        help="the terminal UI; also `repro-tui` and `repro-tui PATH`",
        description="Open the terminal UI on a manifest, a folder of manifests, or a run (default: ./manifests).",
        allow_abbrev=False,
    )
    parser.add_argument(
        "path", metavar="PATH", nargs="?", help='a manifest, a folder, a run directory, the id of a run, or "last"'
    )
    add_runs(parser)
    parser.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Open the UI on what the command line names."""
    return show(arguments.path, runs=arguments.runs, ascii_only=arguments.ascii)


def show(path: str | None, *, runs: Path | None = None, ascii_only: bool = False) -> int:
    """Open the UI; raises UsageError where nobody could see it, and whatever a fault of ours made it end with."""
    # only small modules so far: what Textual reads from the environment has to be settled before it is loaded
    from repro_tui.tui import terminal

    if not terminal.interactive():
        raise UsageError(
            "the terminal UI needs a terminal, for input and for output",
            where="repro-tui tui",
            hint="`repro-tui run MANIFEST` and `repro-tui attach RUN` need none; `repro-tui --help` lists the rest",
        )
    terminal.prepare()
    terminal.hasten()
    from repro_tui.tui import settings
    from repro_tui.tui.app import ReproApp

    preferences = settings.read()
    preferences.ascii = preferences.ascii or ascii_only
    app = ReproApp(opening(path, folder_of_runs(runs)), preferences)
    said = app.run()
    if app.crash is not None:
        raise app.crash
    if said:
        console.say(said)
    return int(app.return_code or 0)


def opening(given: str | None, runs: Path) -> Opening:
    """Return what is to be shown first; raises UsageError for what is neither manifest, folder nor run."""
    from repro_tui.tui.app import Opening

    runs = runs.absolute()
    if given is None:
        return Opening(runs=runs)
    path = Path(given)
    if path.is_file():
        if path.suffix == ".toml":  # what reads bundles takes as long to load as the first picture
            return Opening(runs=runs, manifest=path.absolute())
        from repro_tui.cli.bundle_parts import given_bundle

        bundle = given_bundle(path, None)
        if bundle is None:
            return Opening(runs=runs, manifest=path.absolute())
        return Opening(runs=runs, manifest=bundle.manifest, mirrors=bundle.mirrors, offline=True)
    from repro_tui.runs.catalog import find_run, looks_like_a_run

    if path.is_dir() and not looks_like_a_run(path):
        return Opening(runs=runs, folder=path.absolute())
    return Opening(runs=runs, run=find_run(runs, given))


def wanted(argv: list[str]) -> list[str] | None:
    """Return the command line of the UI where `argv` names no command but means it; None where it does not."""
    if not argv:
        return ["tui"] if sys.stdin.isatty() and sys.stdout.isatty() else None
    word = next((word for word in argv if not word.startswith("-")), "")
    if argv[0] == "--ascii" or (word and word == argv[0] and Path(word).exists()):
        return ["tui", *argv]
    return None
