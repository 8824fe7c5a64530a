"""`repro-tui logs RUN`: the raw logs of a run's stages."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.cli import console
from repro_tui.cli.options import add_run, chosen_run
from repro_tui.errors import UsageError

if TYPE_CHECKING:
    from repro_tui.runs.directory import RunDirectory

_CHUNK_BYTES = 1 << 16
_POLL_S = 0.2


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "logs",
        help="print what a run's containers and tools wrote",
        description="Print the raw logs of a run to stdout: of one stage, or of all in their order.",
        allow_abbrev=False,
    )
    add_run(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on as it grows, until the run ends")
    parser.add_argument("--stage", metavar="NAME", help='a stage ("train"), or "worker"')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the logs."""
    directory = chosen_run(arguments)
    if not arguments.follow:
        for log in _logs(directory, arguments.stage):
            _copy(log, 0)
        return 0
    return _follow(directory, arguments.stage)


def _logs(directory: RunDirectory, stage: str | None) -> list[Path]:
    """Return the logs there are, in the order of the stages; raises UsageError for a stage that has none."""
    from repro_tui.pipeline.plan import STAGES as RUN_STAGES
    from repro_tui.pipeline.series import STAGES as SERIES_STAGES

    stages = dict.fromkeys((*RUN_STAGES[:-2], *SERIES_STAGES))

    there = {log.stem: log for log in directory.logs.glob("*.log")}
    if stage is None:
        return [there[name] for name in (*stages, "worker") if name in there]
    if stage not in there and stage not in stages:
        raise UsageError(
            f"there is no stage {stage!r}", where=str(directory.path), hint=f"there are: {', '.join(sorted(there))}"
        )
    if stage not in there and (seeds := sorted(each.name for each in directory.seeds.glob("[0-9]*"))):
        raise UsageError(
            f"a series has no log of the stage {stage!r}: each of its seeds has one",
            where=str(directory.path),
            hint=f"`repro-tui logs {directory.path / 'seeds' / seeds[0]} --stage {stage}`; "
            f"there are the seeds {', '.join(seeds[:10])}",
        )
    return [there[stage]] if stage in there else []


def _follow(directory: RunDirectory, stage: str | None) -> int:
    from repro_tui.runs.directory import Liveness

    offsets: dict[Path, int] = {}
    while True:
        ended = directory.liveness() is Liveness.ENDED  # asked first: what was written before is then copied below
        for log in _logs(directory, stage):
            offsets[log] = _copy(log, offsets.get(log, 0))
        if ended:
            return 0
        time.sleep(_POLL_S)


def _copy(log: Path, offset: int) -> int:
    """Copy a log from `offset` to stdout and return where it ended; raises BrokenPipeError when nobody reads."""
    sys.stdout.flush()
    with log.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(_CHUNK_BYTES):
            console.raw(chunk)
            offset += len(chunk)
    return offset
