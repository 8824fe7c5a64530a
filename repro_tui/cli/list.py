"""`repro-tui list`: the runs in a folder, newest first."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from repro_tui.cli import console
from repro_tui.cli.options import add_runs, runs_folder

if TYPE_CHECKING:
    from repro_tui.runs.catalog import RunEntry


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("list", help="list runs, newest first", allow_abbrev=False)
    add_runs(parser)
    parser.add_argument("--json", action="store_true", help="as a JSON array")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the runs to stdout."""
    from repro_tui.runs.catalog import list_runs

    entries = list_runs(runs_folder(arguments))
    if arguments.json:
        console.data(json.dumps([_body(entry) for entry in entries], indent=2, ensure_ascii=False) + "\n")
    elif entries:
        console.data(_table([_row(entry) for entry in entries]))
    else:
        console.say(f"no runs in {runs_folder(arguments)}")
    return 0


def _body(entry: RunEntry) -> dict[str, object]:
    return {
        "id": entry.run.id,
        "path": str(entry.run.path.absolute()),
        "status": entry.status,
        "experiment": entry.experiment,
        "title": entry.title,
        "started_at": entry.started_at,
        "duration_s": entry.duration_s,
        "exit_code": entry.exit_code,
    }


def _row(entry: RunEntry) -> tuple[str, ...]:
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.started_at)) if entry.started_at else "-"
    duration = f"{entry.duration_s:.0f} s" if entry.duration_s is not None else "-"
    return entry.run.id, entry.status, started, duration, entry.title


def _table(rows: Sequence[Sequence[str]]) -> str:
    table = [("RUN", "STATUS", "STARTED", "TOOK", "TITLE"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    if sys.stdout.isatty():  # a run a line: the end of a title is the least that is missed
        columns = shutil.get_terminal_size().columns
        lines = [line if len(line) <= columns else line[: columns - 1] + "…" for line in lines]
    return "\n".join(lines) + "\n"
