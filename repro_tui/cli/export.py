"""`repro-tui export FORM [RUN|MANIFEST|BUNDLE]`: a run or a manifest in the forms that others read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.cli import console
from repro_tui.cli.options import add_runs, report_file, runs_folder
from repro_tui.errors import InfrastructureError, UsageError

if TYPE_CHECKING:
    from repro_tui.manifest.loading import LoadedManifest
    from repro_tui.manifest.models import Manifest
    from repro_tui.report.model import Report
    from repro_tui.runs.directory import RunDirectory

FORMS = {
    "markdown": "report.md",
    "html": "report.html",
    "junit": "junit.xml",
    "badge": "badge.svg",
    "croissant": "croissant.json",
    "citation": "CITATION.cff",
    "ro-crate": "",
}
"""Each form, and the name of its file in a folder; an RO-Crate is a folder itself."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "export", help="a run or a manifest in the forms that others read", allow_abbrev=False
    )
    parser.add_argument("form", metavar="FORM", choices=FORMS, help=", ".join(FORMS))
    parser.add_argument(
        "name",
        metavar="RUN|MANIFEST|BUNDLE",
        nargs="?",
        default="last",
        help='id of a run, the beginning of one, its folder, or "last" (the default); a manifest, or a bundle',
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        type=Path,
        help="the file, or a folder for it; an RO-Crate is a folder (default: stdout; ./NAME-crate for an RO-Crate)",
    )
    parser.add_argument(
        "--by", metavar="PERSON", action="append", default=[], help="who made the run, for an RO-Crate; may be repeated"
    )
    add_runs(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the form; the exit code says whether that could be done, not what the verdict is."""
    if arguments.by and arguments.form != "ro-crate":
        raise UsageError("--by goes with ro-crate", hint="no other form says who made the run")
    from repro_tui.bundles.reading import looks_like_bundle

    named = Path(arguments.name)
    if looks_like_bundle(named):
        _of_bundle(arguments, named)
    elif named.suffix == ".toml" or (named.is_file() and named.suffix != ".json"):
        from repro_tui.manifest.loading import load

        _of_manifest(arguments, load(named))
    else:
        from repro_tui.runs.catalog import find_run

        _of_run(arguments, find_run(runs_folder(arguments), arguments.name))
    return 0


def _of_bundle(arguments: argparse.Namespace, path: Path) -> None:
    """Write the form of the recorded run of a bundle, every byte of which is checked; of its manifest without one."""
    from repro_tui.cli.bundled import bundled
    from repro_tui.manifest.loading import load
    from repro_tui.runs.directory import RunDirectory

    with bundled(path) as (bundle, folder):
        run = RunDirectory(folder / "run")
        if run.report.is_file():
            _of_run(arguments, run)
        else:
            _of_manifest(arguments, load(folder / bundle.index.manifest.path))


def _of_manifest(arguments: argparse.Namespace, loaded: LoadedManifest) -> None:
    from repro_tui.report import badge, crate

    match arguments.form:
        case "ro-crate":
            folder = arguments.output or Path(f"{loaded.manifest.experiment.name}-crate")
            crate.of_manifest(loaded, folder)
            console.say(f"wrote {folder}, an RO-Crate: copies of the manifest and of what it pins beside it")
        case "badge":
            _put(arguments, badge.badge(None))
        case "croissant" | "citation" as form:
            _put(arguments, _description(form, loaded.manifest, str(loaded.path)))
        case form:
            raise UsageError(
                f"a manifest has no report to write as {form}",
                where=str(loaded.path),
                hint=f"run it, then `repro-tui export {form} last`",
            )


def _of_run(arguments: argparse.Namespace, directory: RunDirectory) -> None:
    from repro_tui.report import badge, crate, gather, html, junit, markdown

    if arguments.form in {"croissant", "citation"}:
        manifest = gather.read_manifest(directory)
        if manifest is None:
            raise InfrastructureError("the run's copy of its manifest cannot be read", where=str(directory.manifest))
        _put(arguments, _description(arguments.form, manifest, str(directory.manifest)))
        return
    report = _report(directory)
    match arguments.form:
        case "markdown":
            _put(arguments, markdown.render(report))
        case "html":
            _put(arguments, html.render(report, gather.beside(directory, report)))
        case "junit":
            _put(arguments, junit.render(report))
        case "badge":
            _put(arguments, badge.badge(report.verdict))
        case "ro-crate":
            folder = arguments.output or Path(f"{report.run.id}-crate")
            left_out = crate.of_run(directory, report, folder, agents=arguments.by)
            for each in left_out:
                console.say(f"left out: {each}")
            console.say(f"wrote {folder}, an RO-Crate: copies of the run's files, and what they are")


def _report(directory: RunDirectory) -> Report:
    from repro_tui.report import json

    return json.read(report_file(directory, directory.report))


def _description(form: str, manifest: Manifest, where: str) -> str:
    from repro_tui.report import citation, croissant

    content = citation.metadata(manifest) if form == "citation" else croissant.metadata(manifest)
    if content is None:
        raise UsageError(
            "there is no data to describe", where=where, hint='Croissant describes artifacts of kind "data"'
        )
    return content.decode()


def _put(arguments: argparse.Namespace, text: str) -> None:
    from repro_tui.report.json import write_whole

    output: Path | None = arguments.output
    if output is None:
        console.data(text)
        return
    file = output / FORMS[arguments.form] if output.is_dir() else output
    write_whole(file, text)
    console.say(f"wrote {file}")
