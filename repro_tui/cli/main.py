"""The command line: finds the command's module and lets `console` turn what happens into an exit code.

Only modules that import little may be imported here; a command imports what is heavy when it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from repro_tui import __version__
from repro_tui.cli import (
    attach,
    cancel,
    check,
    console,
    diff,
    doctor,
    export,
    image,
    init,
    lock,
    logs,
    pack,
    prune,
    record,
    run,
    schema,
    show,
    sign,
    tui,
    unpack,
    verify,
)
from repro_tui.cli import list as list_command

COMMANDS = (
    tui, init, lock, record, run, attach, cancel, list_command, show, diff, logs, sign, verify,
    check, pack, unpack, export, schema, doctor, image, prune,
)  # fmt: skip
"""Every command's module, in the order of the help; each has `add_parser(subparsers)` and `run(arguments) -> int`."""

EPILOG = """\
`repro-tui` alone, or with a manifest, a folder or a run, opens the terminal UI.
`repro-tui --run MANIFEST` is `repro-tui run MANIFEST`.

exit codes:
    0  reproduced                      3  the engine or the infrastructure failed
    1  a metric differs, or a pin      4  the run itself failed
       drifted                         5  inconclusive
    2  usage, or a faulty manifest   130  interrupted

stdout is data, stderr is for people. docs/cli.md has the whole reference.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="repro-tui",
        description="Rerun a published fine-tuning result from one pinned manifest, and get a verdict.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"repro-tui {__version__}")
    subparsers = top.add_subparsers(title="commands")
    for module in COMMANDS:
        module.add_parser(subparsers)
    return top


def expand(argv: Sequence[str]) -> list[str]:
    """Turn `--run MANIFEST [OPTION…]`, in any order, into `run MANIFEST [OPTION…]`, a path alone into `tui PATH`."""
    if argv and argv[0] == "init":
        return init.expand(argv)
    if argv and argv[0] in {name(module.__name__) for module in COMMANDS}:
        return list(argv)
    if (ui := tui.wanted(list(argv))) is not None:
        return ui
    for place, word in enumerate(argv):
        if word == "--":
            break
        if word == "--run":
            return ["run", *argv[:place], *argv[place + 1 :]]
        if word.startswith("--run="):
            return ["run", *argv[:place], word.removeprefix("--run="), *argv[place + 1 :]]
    return list(argv)


def name(module: str) -> str:
    """Return the name of the command that a module holds."""
    return module.rpartition(".")[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is in docs/cli.md."""
    given = list(sys.argv[1:] if argv is None else argv)

    def command() -> int:
        arguments = parser().parse_args(expand(given) or ["--help"])
        if not hasattr(arguments, "run"):
            return _missing_command()
        return int(arguments.run(arguments))

    return console.guarded(command)


def _missing_command() -> int:
    console.say("error: which command? `repro-tui --help` lists them")
    return 2


if __name__ == "__main__":
    sys.exit(main())
