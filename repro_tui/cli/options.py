"""Options that several commands share: the folder of the runs, which run is meant, sizes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.errors import InfrastructureError

if TYPE_CHECKING:
    import argparse

    from repro_tui.runs.directory import RunDirectory

ENV_RUNS = "REPRO_TUI_RUNS"
"""Environment variable that names the folder of the runs."""


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add --runs."""
    parser.add_argument(
        "--runs", metavar="DIR", type=Path, help=f"folder of the runs (default: ${ENV_RUNS}, else ./runs)"
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add --runs and the argument RUN."""
    parser.add_argument("name", metavar="RUN", help='id of a run, the beginning of one, its folder, or "last"')
    add_runs(parser)


def runs_folder(arguments: argparse.Namespace) -> Path:
    """Return the folder of the runs."""
    return folder_of_runs(arguments.runs)


def folder_of_runs(given: Path | None) -> Path:
    """Return the folder of the runs that --runs gave, or the one there is without it."""
    return given if given is not None else Path(os.environ.get(ENV_RUNS) or "runs")


def chosen_run(arguments: argparse.Namespace) -> RunDirectory:
    """Return the run that RUN names; raises UsageError."""
    from repro_tui.runs.catalog import find_run

    return find_run(runs_folder(arguments), arguments.name)


def report_file(run: RunDirectory, file: Path) -> Path:
    """Return a form of a run's report, a file in its directory; raises InfrastructureError where there is none yet."""
    if not file.is_file():
        raise InfrastructureError(
            f"{run.id} has no report",
            where=str(file),
            hint="a run has one once it has ended; `repro-tui show` without options says how far it is",
        )
    return file


def size_bytes(text: str) -> int:
    """Return a size on the command line, "5 GB", 800MiB or a number of bytes, in bytes; raises ArgumentTypeError."""
    import argparse

    from repro_tui.manifest.fields import parse_size

    try:
        return int(parse_size(int(text) if text.isdecimal() else text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
