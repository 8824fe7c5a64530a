"""`repro-tui attach RUN`: follow a run that is going on somewhere else, or look at one that has ended."""

from __future__ import annotations

import argparse

from repro_tui.cli.options import add_run, chosen_run


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "attach",
        help="follow a run to its verdict",
        description="Follow a run to its verdict; the exit code is that of the run. Ctrl-C detaches, the run goes on.",
        allow_abbrev=False,
    )
    add_run(parser)
    parser.add_argument("--json", action="store_true", help="print the report, and nothing else, to stdout")
    parser.add_argument("--plain", action="store_true", help="plain lines instead of a live display")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Follow the run."""
    from repro_tui.cli.follow import follow

    return follow(chosen_run(arguments), process=None, json=arguments.json, plain=arguments.plain)
