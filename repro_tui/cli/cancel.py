"""`repro-tui cancel RUN`: ask a run to stop, from any shell."""

from __future__ import annotations

import argparse
import getpass
import time

from repro_tui.cli import console
from repro_tui.cli.options import add_run, chosen_run

_PATIENCE_S = 60.0
_POLL_S = 0.1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "cancel",
        help="stop a run",
        description="Ask a run to stop and wait until it has: the training gets SIGTERM, ten seconds, then SIGKILL. "
        "A report is written all the same.",
        allow_abbrev=False,
    )
    add_run(parser)
    parser.add_argument("--now", action="store_true", help="without the ten seconds; also after an earlier cancel")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Cancel the run; 0 when it has ended, 1 when it had ended before, 3 when it does not end."""
    from repro_tui.runs.directory import Liveness

    directory = chosen_run(arguments)
    if directory.liveness() is Liveness.ENDED:
        console.say(f"{directory.id} is not running")
        return 1
    directory.request_cancel(_who(), now=arguments.now)
    console.say(f"asked {directory.id} to stop")
    give_up_at = time.monotonic() + _PATIENCE_S
    while directory.liveness() is not Liveness.ENDED:
        if time.monotonic() > give_up_at:
            console.say(
                f"it has not stopped after {_PATIENCE_S:g} s; `repro-tui cancel --now {directory.id}` is harder"
            )
            return 3
        time.sleep(_POLL_S)
    console.say("stopped")
    return 0


def _who() -> str:
    try:
        return f"{getpass.getuser()}, with `repro-tui cancel`"
    except (OSError, KeyError):
        return "`repro-tui cancel`"
