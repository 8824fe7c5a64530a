"""`repro-tui pack MANIFEST -o FILE`: everything that a run needs, as one file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.cli import console
from repro_tui.cli.image_parts import Progress, add_mirrors, add_store, store_of
from repro_tui.cli.options import add_runs, runs_folder, size_bytes

if TYPE_CHECKING:
    from repro_tui.bundles.packing import Packed
    from repro_tui.manifest.loading import LoadedManifest
    from repro_tui.runs.directory import RunDirectory

ENDING = ".repro.tar"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "pack",
        help="pack a manifest and everything it needs into one file",
        description="Pack a manifest, its locks and record, its code and data, the parts of its image and a recorded "
        "run into one file that runs without a network: repro-tui run FILE. The same content gives the same bytes.",
        allow_abbrev=False,
    )
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, help="the manifest, a TOML file")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help=f"default: EXPERIMENT{ENDING}")
    parser.add_argument(
        "--run", metavar="RUN", dest="recorded",
        help='the recorded run: id, folder, "last" or "none" (default: the newest that reproduced the manifest)',
    )  # fmt: skip
    parser.add_argument(
        "--image", choices=("parts", "oci"),
        help="what the image is assembled from, or its layers (default: parts where it has any)",
    )  # fmt: skip
    parser.add_argument(
        "--exclude", metavar="ARTIFACT", action="append", default=[],
        help="leave an artifact out; it stays pinned, and a run looks for it elsewhere; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--exclude-licence", metavar="PATTERN", action="append", default=[],
        help="leave out artifacts with such a licence, a name or a pattern of the shell's; repeatable",
    )  # fmt: skip
    parser.add_argument("--max-bytes", metavar="SIZE", type=size_bytes, help='leave out larger artifacts; "500 MB"')
    add_runs(parser)
    add_store(parser)
    add_mirrors(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Pack, and print the file's digest and name as `sha256sum` does."""
    from repro_tui.artifacts.fetch import Fetcher
    from repro_tui.artifacts.mirrors import mirrors_from
    from repro_tui.bundles.contents import Wish
    from repro_tui.bundles.packing import pack
    from repro_tui.manifest.loading import load

    loaded = load(arguments.manifest)
    target = arguments.output or Path(f"{loaded.manifest.experiment.name}{ENDING}")
    mirrors = mirrors_from(arguments.mirror)
    progress = Progress()
    store = store_of(arguments)
    fetcher = Fetcher(
        store, mirrors, base=loaded.path.absolute().parent, offline=arguments.offline,
        notify=console.say, progress=progress,
    )  # fmt: skip
    try:
        packed = pack(
            loaded,
            target,
            store=store,
            fetcher=fetcher,
            run=_chosen_run(arguments, loaded),
            wish=Wish(arguments.image, arguments.exclude, arguments.exclude_licence, arguments.max_bytes),
            mirrors=mirrors,
            offline=arguments.offline,
            progress=progress,
            say=console.say,
        )
    finally:
        store.close()
    _tell(packed)
    console.data(f"{packed.sha256}  {packed.path}\n")
    return 0


def _chosen_run(arguments: argparse.Namespace, loaded: LoadedManifest) -> RunDirectory | None:
    from repro_tui.bundles.recorded import choose_run
    from repro_tui.runs.catalog import find_run

    runs = runs_folder(arguments)
    if arguments.recorded == "none":
        return None
    if arguments.recorded is not None:
        return find_run(runs, arguments.recorded)
    found = choose_run(runs, loaded)
    if found is None:
        console.say(f"no run of this manifest in {runs}{os.sep}: the bundle has none (--run names one)")
    else:
        console.say(f"recorded run: {found.id}")
    return found


def _tell(packed: Packed) -> None:
    from repro_tui.bundles.index import counted
    from repro_tui.runs.words import size

    for role, (count, total) in sorted(counted(packed.index.files).items(), key=lambda each: -each[1][1]):
        console.say(f"  {size(total):>9}  {count:4}  {role}")
    for each in packed.index.left_out:
        console.say(f"  not in it: {each.artifact} ({each.reason}); it stays pinned")
    console.say(f"{packed.path}: {size(packed.size_bytes)}; run it with:  repro-tui run {packed.path}")
