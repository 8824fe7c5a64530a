"""`repro-tui show RUN`: the report of a run, or how far it is."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from repro_tui.cli import console
from repro_tui.cli.options import add_run, chosen_run, report_file
from repro_tui.errors import InfrastructureError

if TYPE_CHECKING:
    from repro_tui.runs.directory import RunDirectory


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("show", help="print the report of a run, or how far it is", allow_abbrev=False)
    add_run(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="report.json as it is")
    form.add_argument("--markdown", action="store_true", help="report.md as it is")
    form.add_argument("--pins", action="store_true", help="what it recorded, as TOML to paste into the manifest")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what there is to stdout; the exit code says whether that could be done, not what the verdict is."""
    directory = chosen_run(arguments)
    if arguments.pins:
        console.data(_pins(directory))
    elif arguments.json or arguments.markdown:
        report = report_file(directory, directory.report if arguments.json else directory.report_markdown)
        console.data(report.read_text(encoding="utf-8"))
    else:
        console.data(_describe(directory))
    return 0


def _pins(directory: RunDirectory) -> str:
    from repro_tui.report import pins

    if not directory.record.is_file():
        raise InfrastructureError(
            f"{directory.id} has no record",
            where=str(directory.record),
            hint="a run writes one when it trained and was verified to its end, whatever its verdict",
        )
    return pins.render(directory.record)


def _describe(directory: RunDirectory) -> str:
    from repro_tui.cli.follow import series_lines
    from repro_tui.runs import words
    from repro_tui.runs.directory import Liveness
    from repro_tui.runs.reader import RunReader

    alive = directory.liveness() is not Liveness.ENDED
    state = RunReader(directory).read_all()
    lines = [words.printable(f"{directory.id}: {state.title}")]
    if state.engine is not None:
        engine = words.printable(f"  engine {state.engine.engine} ({state.engine.reason})")
        lines.append(console.folded(engine, console.columns(), 4))
    for stage in state.stages.values():
        took = words.duration(stage.elapsed_s) if stage.elapsed_s else ""
        what = words.progress(state, stage) if stage.running else words.printable(stage.detail)
        word = words.status(stage) if alive or not stage.running else "died"
        lines.append(f"  {word:9}  {stage.name:11}  {took:>12}  {what}".rstrip())
        if stage.name == "train":
            lines += [f"    {words.printable(words.task_stage(each))}" for each in state.task_stages.values()]
    lines += ["", *series_lines(directory)]
    *table, last = ["", *words.summary(state)]
    lines += [*table[1:], console.folded(last, console.columns(), 2)]
    if not state.finished:
        lines.append("RUNNING" if alive else f"DIED: the worker is gone without its last word; see {directory.logs}")
    return "\n".join(lines) + "\n"
