"""`repro-tui doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from repro_tui.cli import console
from repro_tui.cli.options import add_runs, runs_folder

if TYPE_CHECKING:
    from repro_tui.doctor.finding import Finding


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="say which engines work here, and what to do if not",
        description="Look at engines, disk, memory, CPU, GPU and clients. Exit code 0 when an engine works, else 3.",
        allow_abbrev=False,
    )
    add_runs(parser)
    parser.add_argument("--json", action="store_true", help="as a JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the findings to stdout."""
    from repro_tui.doctor.examine import examine, healthy

    findings = examine(runs_folder(arguments))
    well = healthy(findings)
    if arguments.json:
        body = {"ok": well, "findings": [_body(finding) for finding in findings]}
        console.data(json.dumps(body, indent=2, ensure_ascii=False) + "\n")
    else:
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
        console.data("".join(f"{line}\n" for line in _lines(findings, columns)))
        if not well:
            console.say("no container engine works here")
    return 0 if well else 3


def _body(finding: Finding) -> dict[str, object]:
    return {
        "name": finding.name,
        "ok": finding.ok,
        "engine": finding.engine or None,
        "message": finding.message,
        "remedy": finding.remedy or None,
        "details": finding.details,
    }


def _lines(findings: Sequence[Finding], columns: int) -> Iterator[str]:
    margin = max(len(finding.name) for finding in findings) + 6

    def lines(first: str, text: str) -> list[str]:
        wide = max(columns, margin + 30)
        return textwrap.wrap(
            text, wide, initial_indent=first, subsequent_indent=" " * (margin + 3), break_long_words=False,
            break_on_hyphens=False,
        )  # fmt: skip

    for finding in findings:
        yield from lines(f"{'ok' if finding.ok else 'no':3} {finding.name}".ljust(margin), finding.message)
        if finding.remedy and not finding.ok:
            yield from lines(f"{'':{margin}}-> ", finding.remedy)
        for name, text in finding.details.items():
            yield from lines(f"{'':{margin}}   ", f"{name}: {text}")
