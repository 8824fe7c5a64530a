"""`repro-tui pack MANIFEST -o FILE`: everything that a run needs, as one file."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
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
_PARTS = {
    "image": ("wheel", "deb", "image", "recipe", "base lock"),
    "weights": ("weights",),
    "data": ("data",),
    "code": ("code",),
    "recorded run": ("report", "events", "metrics", "environment", "log"),
    "manifest": ("manifest", "lock", "listing", "record", "metadata", "citation", "licence"),
}
_MANY = {"wheel": "wheels", "deb": "Debian packages", "weights": "files", "data": "files", "code": "files"}


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
        runs=runs_folder(arguments),
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
    """Say what is in it and how large, what is not, and what to do with it; within 80 columns but for names."""
    from repro_tui.bundles.index import counted
    from repro_tui.runs.words import size

    found = counted(packed.index.files)
    parts = [
        (sum(found[role][1] for role in roles if role in found), title, _counts(found, roles))
        for title, roles in _PARTS.items()
        if any(role in found for role in roles)
    ]
    for total, title, counts in sorted(parts, reverse=True):
        console.say(f"  {size(total):>9}  {title:<12}  {counts}")
    console.say(f"  {size(packed.size_bytes):>9}  in all, {len(packed.index.files)} files")
    for each in packed.index.left_out:
        console.say(f"not in it: {each.artifact} ({each.reason}), {size(each.bytes)}; it stays pinned")
    console.say(f"run it with:  repro-tui run {shlex.quote(str(packed.path))}")


def _counts(found: Mapping[str, tuple[int, int]], roles: Sequence[str]) -> str:
    """Return how many files of each role there are, in words; of one file the role says enough."""
    there = [(role, found[role][0]) for role in roles if role in found]
    return ", ".join(role if count == 1 else f"{count} {_MANY.get(role, f'{role} files')}" for role, count in there)
