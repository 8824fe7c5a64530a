"""`repro-tui run MANIFEST`: make a run directory, start its worker, follow it to the verdict."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.cli import console
from repro_tui.cli.options import add_runs, runs_folder
from repro_tui.errors import UsageError

if TYPE_CHECKING:
    from repro_tui.runs.directory import RunDirectory

ENV_MIRROR = "REPRO_TUI_MIRROR"
"""Mirror folders, separated like those of PATH."""
ENV_DEBIAN_MIRROR = "REPRO_TUI_DEBIAN_MIRROR"
"""Address of a Debian mirror."""
_SEEDS = 2**32


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="rerun an experiment and say whether it was reproduced",
        description="Rerun the experiment of a manifest and say whether it was reproduced. Ctrl-C cancels the run; "
        "closing the terminal does not.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "manifest",
        metavar="MANIFEST",
        type=Path,
        nargs="?",
        help="the manifest, a TOML file, or a bundle (docs/bundles.md)",
    )
    parser.add_argument(
        "--engine", metavar="NAME", help="docker, podman or embedded (default: the manifest's wish, else what works)"
    )
    parser.add_argument("--json", action="store_true", help="print the report, and nothing else, to stdout")
    parser.add_argument("--plain", action="store_true", help="plain lines instead of a live display")
    parser.add_argument("--detach", action="store_true", help="return at once; print the run's id to stdout")
    add_runs(parser)
    parser.add_argument(
        "--store", metavar="DIR", type=Path, help="folder of the store (default: $REPRO_TUI_STORE, else the cache)"
    )
    parser.add_argument(
        "--mirror", metavar="DIR", type=Path, action="append", default=[],
        help=f"folder with files named by digest or in a SHA256SUMS file; repeatable; also ${ENV_MIRROR}",
    )  # fmt: skip
    parser.add_argument(
        "--debian-mirror", metavar="URL",
        help=f"any Debian mirror, where the host's package manager knows no Debian; also ${ENV_DEBIAN_MIRROR}",
    )  # fmt: skip
    parser.add_argument("--offline", action="store_true", help="use the store, mirrors and local files only")
    parser.add_argument(
        "--online", action="store_true", help="of a bundle: fetch what was left out of it (else it runs offline)"
    )
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument(
        "--seed", metavar="N", type=_seed, help="another seed than the manifest's; the job then differs from the record"
    )
    add_seeds(seeds)
    add_jobs(parser)
    seeds.add_argument(
        "--resume", metavar="RUN", help="go on with a series that was stopped: finished seeds are kept, the others run"
    )
    parser.add_argument(
        "--allow-drift", action="store_true", help="go on where a pin drifted; the verdict stays ENVIRONMENT DRIFT"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="run every stage of the manifest: take none from the store"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Start the run, and follow it unless it is to be detached."""
    from repro_tui.pipeline import worker

    directory = resumed(arguments) if arguments.resume is not None else prepare(arguments)
    process = worker.spawn(directory)
    if arguments.detach:
        while process.poll() is None and not directory.events.exists():
            time.sleep(0.02)  # until it has its own claim on the opened bundle: ours ends with this process
        console.say(f"detached; follow it with:  repro-tui attach {_how_to_name(directory)}")
        console.data(f"{directory.id}\n")
        return 0
    from repro_tui.cli.follow import follow

    return follow(directory, process=process, json=arguments.json, plain=arguments.plain)


def prepare(arguments: argparse.Namespace) -> RunDirectory:
    """Make the run directory; raises ManifestError before there is one where the manifest has problems."""
    from repro_tui.artifacts.mirrors import mirrors_from
    from repro_tui.cli.bundle_parts import given_bundle, refuse_what_is_missing
    from repro_tui.engines.choose import check_name
    from repro_tui.manifest.loading import load
    from repro_tui.pipeline import launch
    from repro_tui.pipeline.plan import Options

    if arguments.manifest is None:
        raise UsageError("which manifest?", where="MANIFEST", hint="a TOML file, or --resume RUN for a series")
    if arguments.engine is not None:
        check_name(arguments.engine)
    bundle = given_bundle(arguments.manifest, arguments.store)
    loaded = load(arguments.manifest) if bundle is None else bundle.loaded
    mirrors = mirrors_from([*arguments.mirror, *(() if bundle is None else bundle.mirrors)])
    if bundle is not None and not arguments.online:
        refuse_what_is_missing(bundle, arguments.store, mirrors)
    return launch.prepare(
        runs_folder(arguments).absolute(),
        loaded,
        Options(
            manifest=str(loaded.path.absolute()),
            experiment=loaded.manifest.experiment.name,
            title=loaded.manifest.experiment.title,
            engine=arguments.engine,
            store=str(arguments.store.absolute()) if arguments.store else None,
            mirrors=tuple(map(str, mirrors)),
            debian_mirror=arguments.debian_mirror or os.environ.get(ENV_DEBIAN_MIRROR) or None,
            offline=arguments.offline or (bundle is not None and not arguments.online),
            seed=arguments.seed,
            seeds=launch.series_seeds(arguments.seeds, loaded) if arguments.seeds is not None else (),
            jobs=arguments.jobs,
            allow_drift=arguments.allow_drift,
            fresh=arguments.fresh,
        ),
    )


def resumed(arguments: argparse.Namespace) -> RunDirectory:
    """Make an old series ready to go on; its options are those it began with."""
    from repro_tui.pipeline import launch
    from repro_tui.runs.catalog import find_run

    if arguments.manifest is not None:
        raise UsageError("--resume takes the manifest from the series", where="MANIFEST", hint="leave the manifest out")
    directory = find_run(runs_folder(arguments), arguments.resume)
    launch.resume(directory)
    return directory


def add_seeds(parser: argparse._ActionsContainer) -> None:
    """Add --seeds."""
    parser.add_argument(
        "--seeds", metavar="N|LIST", type=_seeds,
        help="a series: so many seeds from the manifest's on, or those of a list (1,2,3; one seed: 7,)",
    )  # fmt: skip


def add_jobs(parser: argparse._ActionsContainer) -> None:
    """Add --jobs."""
    parser.add_argument(
        "--jobs", metavar="N", type=_jobs, help="of a series: seeds at the same time (default: what there is room for)"
    )


def _seeds(text: str) -> int | tuple[int, ...]:
    from repro_tui.pipeline.launch import wished_seeds

    try:
        return wished_seeds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _jobs(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _seed(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < _SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {_SEEDS - 1}")
    return value


def _how_to_name(directory: RunDirectory) -> str:
    return directory.id if directory.path.parent == Path("runs").absolute() else str(directory.path)
