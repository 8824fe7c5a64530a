"""`repro-tui init [FOLDER] [-- COMMAND…]`: draft a manifest from a project, from a template, or write files for CI."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.cli import console
from repro_tui.errors import UsageError

if TYPE_CHECKING:
    from repro_tui.authoring.drafting import Draft

FILE = "repro.toml"
"""What the manifest is called where nobody says otherwise."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "init",
        help="draft a manifest from a project folder",
        description="Look at a project folder and draft its manifest: what can be found out is written, what cannot "
        "is a marked line. Nothing of the project is run. In a terminal it asks, with defaults.",
        usage="repro-tui init [FOLDER] [-o FILE] [--name NAME] [--yes] [--force] [-- COMMAND …]\n"
        "       repro-tui init --from-template NAME [FOLDER] [--set KEY=VALUE …]\n"
        "       repro-tui init --list-templates\n"
        "       repro-tui init --ci [MANIFEST]",
        allow_abbrev=False,
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path(), metavar="FOLDER", help="the project (default: .)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help=f"the manifest to write (default: FOLDER/{FILE})"
    )
    parser.add_argument("--name", metavar="NAME", help="short name of the experiment")
    parser.add_argument("--yes", action="store_true", help="ask nothing: take what was found")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    parser.add_argument("--from-template", metavar="NAME", dest="template", help="fill a template instead")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="answers",
        help="an answer to a template's question, by its key; repeatable",
    )  # fmt: skip
    parser.add_argument("--list-templates", action="store_true", help="list the templates")
    parser.add_argument(
        "--ci", nargs="?", type=Path, const=Path(), metavar="MANIFEST",
        help="write a GitHub Actions workflow that runs the manifest, and a badge",
    )  # fmt: skip
    parser.add_argument(
        "--command", nargs=argparse.REMAINDER, default=[], metavar="…", help="the command that trains; as after `--`"
    )
    parser.set_defaults(run=run)


def expand(argv: Sequence[str]) -> list[str]:
    """Hand what follows `--` over as the command: argparse would take its first word for the folder."""
    words = list(argv)
    if "--" in words and "--command" not in words[: words.index("--")]:
        words[words.index("--")] = "--command"
    return words


def run(arguments: argparse.Namespace) -> int:
    """Do one of the four; what was written is on stdout, what is left to do on stderr."""
    if arguments.list_templates:
        return _list()
    if arguments.command and (arguments.ci is not None or arguments.template is not None):
        raise UsageError("a command goes with a project's folder only", hint="repro-tui init FOLDER -- COMMAND")
    if arguments.answers and arguments.template is None:
        raise UsageError(
            "--set answers a template's questions", hint="repro-tui init --from-template NAME --set KEY=VALUE"
        )
    if arguments.ci is not None:
        return _ci(arguments)
    if arguments.template is not None:
        return _template(arguments)
    return _project(arguments)


def _asking(arguments: argparse.Namespace) -> bool:
    return not arguments.yes and sys.stdin.isatty() and sys.stderr.isatty()


def _project(arguments: argparse.Namespace) -> int:
    from repro_tui.authoring.asking import ask_about, ask_script
    from repro_tui.authoring.drafting import draft
    from repro_tui.authoring.files import refuse_overwriting, way, write
    from repro_tui.authoring.inspection.dependencies import DRAFTED, requirements_text
    from repro_tui.authoring.writing import manifest_text

    root, target = _target(arguments)
    refuse_overwriting([target], force=arguments.force)
    made = draft(root, arguments.command, target=target)
    if _asking(arguments):
        if not arguments.command and (script := ask_script(made)) != made.script:
            made = draft(root, script=script, target=target)
        made.about = ask_about(made.about)
    _rename(made, arguments.name)
    if not made.dependencies.file and made.script:
        write(root / DRAFTED, requirements_text(made.imported))
    write(target, manifest_text(made, prefix=way(target.parent, root)))
    _tell(made, target)
    console.data(f"{target}\n")
    return 0


def _target(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Return the project's folder and the manifest to write; raises UsageError where they cannot be."""
    root: Path = arguments.folder
    if not root.is_dir():
        raise UsageError("this is no folder", where=str(root), hint="repro-tui init FOLDER, the project's own")
    target: Path = arguments.output or root / FILE
    if target.suffix != ".toml":
        raise UsageError("a manifest's name ends in .toml", where=str(target), hint="-o FILE.toml")
    return root, target


def _rename(made: Draft, name: str | None) -> None:
    from dataclasses import replace

    from repro_tui.authoring.inspection.people import slug

    if name is None:
        return
    if slug(name) != name:
        raise UsageError(
            f"{name!r} cannot be a manifest's name",
            hint=f"lower-case letters, digits, '.', '_', '-': {slug(name) or 'mine'}",
        )
    made.about = replace(made.about, name=name)


def _tell(made: Draft, target: Path) -> None:
    """Say what was found, what is missing, and what comes next."""
    from repro_tui.authoring.inspection.dependencies import DRAFTED
    from repro_tui.authoring.reporting import lines_to_add
    from repro_tui.manifest.lines import Lines
    from repro_tui.manifest.marks import marked_problems

    text = target.read_text(encoding="utf-8")
    code, inputs = len(made.code), len(made.artifacts)
    console.say(
        f"wrote {target}: {made.script or 'no script'}, {code} file{'s' * (code != 1)} of code, "
        f"{inputs} input{'s' * (inputs != 1)}"
    )
    if not made.dependencies.file and made.script:
        console.say(f"wrote {made.folder.root / DRAFTED}, since no file named the dependencies")
    for note in made.notes:
        console.say(f"  note: {note}")
    if made.folder.strange:
        console.say(f"  note: left out for their names: {', '.join(made.folder.strange[:3])}")
    if made.folder.cut:
        console.say(f"  note: the folder holds more than {len(made.folder.files)} files; the rest was not looked at")
    marked = list(marked_problems(Lines(text)))
    for problem in marked:
        console.say(f"{target}:{problem.line}: {problem.found.partition(': ')[2]}")
    if not made.reports and made.script:
        console.say(f"\nto report its metrics, {made.script} needs lines like these (docs/wire-format.md):\n")
        console.say(lines_to_add(made))
    _next(len(marked), target)


def _next(marked: int, target: Path) -> None:
    lines = "the marked line" if marked == 1 else f"the {marked} marked lines"
    console.say(f"{f'see to {lines}, then' if marked else 'next:'} `repro-tui lock {shlex.quote(str(target))}`")


def _list() -> int:
    from repro_tui.authoring.templates import templates

    for template in templates():
        console.data(f"{template.name:24} {template.description}\n")
    return 0


def _template(arguments: argparse.Namespace) -> int:
    from repro_tui.authoring.asking import ask_template
    from repro_tui.authoring.files import refuse_overwriting, write
    from repro_tui.authoring.inspection.folder import look
    from repro_tui.authoring.inspection.people import find_about
    from repro_tui.authoring.templates import find_template
    from repro_tui.manifest.lines import Lines
    from repro_tui.manifest.marks import marked_problems

    template = find_template(arguments.template)
    root, target = _target(arguments)
    refuse_overwriting([target], force=arguments.force)
    given = template.answers(arguments.answers)
    if arguments.name is not None:
        given.setdefault("experiment.name", arguments.name)
    known = template.known(find_about(look(root)))
    if _asking(arguments):
        given = ask_template(template, given, known)
    text = template.filled({**known, **given})
    write(target, text)
    console.say(f"wrote {target} from the template {template.name}")
    marked = list(marked_problems(Lines(text)))
    for problem in marked:
        console.say(f"{target}:{problem.line}: {problem.found.partition(': ')[2]}")
    _next(len(marked), target)
    console.data(f"{target}\n")
    return 0


def _ci(arguments: argparse.Namespace) -> int:
    from repro_tui.authoring.ci import write_ci

    manifest = arguments.folder / FILE if arguments.ci == Path() else arguments.ci
    for path in write_ci(manifest, force=arguments.force):
        console.data(f"{path}\n")
    console.say("the badge is the last verdict's; show it in the README: ![reproduced?](.github/repro-tui.svg)")
    return 0
