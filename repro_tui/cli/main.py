"""The command line: finds the command's module and lets `console` turn what happens into an exit code.

Only modules that import little may be imported here; a command imports what is heavy when it runs.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from repro_tui.cli import console

if TYPE_CHECKING:
    import argparse

COMMANDS = (
    "tui", "init", "lock", "record", "run", "attach", "cancel", "list", "show", "diff", "logs", "sign", "verify",
    "check", "pack", "unpack", "export", "schema", "doctor", "image", "prune",
)  # fmt: skip
"""Every command, in the order of the help; its module has `add_parser(subparsers)` and `run(arguments) -> int`."""

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
    import argparse

    from repro_tui import __version__

    top = argparse.ArgumentParser(
        prog="repro-tui",
        description="Rerun a published fine-tuning result from one pinned manifest, and get a verdict.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"repro-tui {__version__}")
    subparsers = top.add_subparsers(title="commands")
    for command in COMMANDS:
        importlib.import_module(f"repro_tui.cli.{command}").add_parser(subparsers)
    return top


def expand(argv: Sequence[str]) -> list[str]:
    """Turn `--run MANIFEST [OPTION…]`, in any order, into `run MANIFEST [OPTION…]`, a path alone into `tui PATH`."""
    if argv and argv[0] == "init":
        from repro_tui.cli import init

        return init.expand(argv)
    if argv and argv[0] in COMMANDS:
        return list(argv)
    from repro_tui.cli import tui

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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is in docs/cli.md."""
    given = list(sys.argv[1:] if argv is None else argv)
    return console.guarded(lambda: _command(expand(given)))


def _command(words: Sequence[str]) -> int:
    if words[:1] == ["tui"] and len(words) <= 2 and not any(word.startswith("-") for word in words):
        # somebody waits for a picture: no parser, which has every command loaded
        from repro_tui.cli import tui

        return tui.show(words[1] if len(words) > 1 else None)
    arguments = parser().parse_args(words or ["--help"])
    if not hasattr(arguments, "run"):
        return _missing_command()
    return int(arguments.run(arguments))


def _missing_command() -> int:
    console.say("error: which command? `repro-tui --help` lists them")
    return 2


if __name__ == "__main__":
    sys.exit(main())
