"""`repro-tui record MANIFEST`: run it over seeds and write what came out into the manifest."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.cli import console
from repro_tui.cli.options import add_runs, runs_folder
from repro_tui.cli.run import ENV_DEBIAN_MIRROR, add_jobs, add_seeds
from repro_tui.errors import ExitCode, ReproError, RunFailedError

if TYPE_CHECKING:
    from repro_tui.authoring.recording import Findings, Written
    from repro_tui.manifest.loading import LoadedManifest


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "record",
        help="run a manifest and write what came out into it",
        description="Run a manifest, the first seed twice, and write the expected metrics with a tolerance, the "
        "digests that came out bit for bit, the record and the missing pins into it. What is there already stays.",
        allow_abbrev=False,
    )
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, help="the manifest, a TOML file")
    add_seeds(parser)
    add_jobs(parser)
    parser.add_argument(
        "--confidence", metavar="P", type=_confidence, default=0.95,
        help="of the prediction interval that the tolerance is (default: 0.95)",
    )  # fmt: skip
    parser.add_argument(
        "--force", action="store_true", help="replace expected values, pins and record that are there already"
    )
    parser.add_argument("--engine", metavar="NAME", help="docker, podman or embedded")
    parser.add_argument("--plain", action="store_true", help="plain lines instead of a live display")
    add_runs(parser)
    parser.add_argument("--store", metavar="DIR", type=Path, help="folder of the store")
    parser.add_argument(
        "--mirror", metavar="DIR", type=Path, action="append", default=[], help="as of `repro-tui run`; repeatable"
    )
    parser.add_argument("--offline", action="store_true", help="use the store, mirrors and local files only")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the series, or what is missing of it, and change the manifest; 0 when that is done."""
    from repro_tui.artifacts.mirrors import mirrors_from
    from repro_tui.authoring import recording
    from repro_tui.cli.follow import follow
    from repro_tui.engines.choose import check_name
    from repro_tui.manifest.loading import load
    from repro_tui.pipeline import worker
    from repro_tui.pipeline.plan import Options
    from repro_tui.pipeline.series import is_whole, planned
    from repro_tui.verify import statistics

    if arguments.engine is not None:
        check_name(arguments.engine)
    loaded = load(arguments.manifest)
    recording.check_writable(loaded)
    seeds = recording.recorded_seeds(arguments.seeds or 1, loaded)
    if len(seeds) > 1:
        statistics.require()
    options = Options(
        manifest=str(loaded.path.absolute()),
        experiment=loaded.manifest.experiment.name,
        title=loaded.manifest.experiment.title,
        engine=arguments.engine,
        store=str(arguments.store.absolute()) if arguments.store else None,
        mirrors=tuple(map(str, mirrors_from(arguments.mirror))),
        debian_mirror=os.environ.get(ENV_DEBIAN_MIRROR) or None,
        offline=arguments.offline,
        allow_drift=arguments.force,
        seeds=seeds,
        twice=True,
        fresh=True,
        jobs=arguments.jobs,
    )
    if len(seeds) > 1 and not recording.names_seed(loaded):
        console.say(
            "note: `{seed}` stands nowhere in task.command: unless the script reads its seed from the job, "
            "every seed is the same run again"
        )
    directory, to_run = recording.begin(runs_folder(arguments).absolute(), loaded, options)
    if to_run:
        code = follow(directory, process=worker.spawn(directory), json=False, plain=arguments.plain, quiet=True)
        open_ = [each.name for each in planned(options, directory) if not is_whole(each.run)]
        if open_:
            raise _unfinished(open_, directory.path, code)
    else:
        console.say(f"all seeds have run already, in {directory.path}")
    found = recording.findings(directory, loaded, arguments.confidence)
    _say(found, recording.write(loaded, found, directory, force=arguments.force))
    _next(loaded, arguments.manifest)
    return 0


def _unfinished(names: list[str], run: Path, code: int) -> ReproError:
    error = RunFailedError(
        f"nothing is recorded: seed {', '.join(names)} did not come to its end",
        where=str(run),
        hint="the report there says why; recording again keeps the finished seeds",
    )
    if code:
        error.exit_code = ExitCode(code)  # what kept it from its end: cancelled, drifted, no engine
    return error


def _next(loaded: LoadedManifest, path: Path) -> None:
    """Say what an author does next; an image that is built anew each time cannot be packed."""
    where = shlex.quote(str(path))
    pack = f", `repro-tui pack {where}` makes one file of it to share"
    packed = pack if loaded.manifest.image.dockerfile is None else ""
    console.say(f"next: `repro-tui run {where}` verifies it{packed}")


def _say(found: Findings, written: Written) -> None:
    console.say("")
    console.data(f"level: {found.reached}\n")
    for metric in found.metrics:
        console.data(f"{metric.place}/{metric.name} = {metric.value:.6g} ± {metric.absolute:.3g}: {metric.rule}\n")
    for name in found.moving:
        console.data(f"output {name}: other bits the second time, not expected\n")
    for line in written.changed:
        console.data(f"  wrote {line}\n")
    for key in written.kept:
        console.data(f"  kept {key}, which is another now (--force replaces it)\n")
    if len(found.seeds) in {2, 3} and any(metric.absolute for metric in found.metrics):
        console.say(f"note: {len(found.seeds)} seeds say little, so the tolerance is wide: --seeds 5 narrows it")


def _confidence(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.5 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no confidence from 0.5 to below 1, like 0.95")
    return value
