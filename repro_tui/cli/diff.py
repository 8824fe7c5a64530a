"""`repro-tui diff A B`: why two results differ, the likeliest cause first."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.cli import console
from repro_tui.cli.options import add_runs, runs_folder
from repro_tui.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from repro_tui.report.explain.model import Explanation
    from repro_tui.report.explain.sides import Side


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "diff",
        help="explain why two runs, manifests or bundles differ",
        description="Say what differs, the likeliest cause first, where the losses part, and whether seeds alone move "
        "the metric as far. One run alone is compared with the record of its manifest.",
        epilog="exit codes: 0 the same, 1 they differ, 2 usage, 5 too little is known to say",
        allow_abbrev=False,
    )
    what = 'a run (id, the beginning of one, folder, "last"), a manifest, or a bundle'
    parser.add_argument("left", metavar="A", help=what)
    parser.add_argument("right", metavar="B", nargs="?", help=f"{what}; without it A is compared with its record")
    add_runs(parser)
    parser.add_argument("--store", metavar="DIR", type=Path, help="folder of the store to look for data in")
    parser.add_argument(
        "--mirror", metavar="DIR", action="append", default=[], help="a folder to look for data in, too"
    )
    parser.add_argument("--json", action="store_true", help="as JSON (docs/explaining.md)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation to stdout."""
    from repro_tui.report.explain.explain import explain

    opener = _Opener(arguments)
    if arguments.right is None:
        left, right = opener.with_record(arguments.left)
    else:
        left, right = opener.side(arguments.left), opener.side(arguments.right)
    explanation = explain(left, right)
    console.data(_text(explanation, arguments))
    if explanation.differs:
        return int(ExitCode.DIFFERS)
    return 0 if explanation.same else int(ExitCode.INCONCLUSIVE)


def _text(explanation: Explanation, arguments: argparse.Namespace) -> str:
    if arguments.json:
        return json.dumps(explanation.to_json(), indent=2, ensure_ascii=False) + "\n"
    from repro_tui.report.explain.text import render

    return render(explanation, width=console.columns())


class _Opener:
    """Turns what a person typed into a side."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from repro_tui.artifacts.mirrors import mirrors_from
        from repro_tui.artifacts.store import default_store_path

        self.runs = runs_folder(arguments)
        self.store: Path = arguments.store or default_store_path()
        self.mirrors = mirrors_from(arguments.mirror)

    def side(self, name: str) -> Side:
        """Return what is known of a run, a manifest or a bundle; raises UsageError, ManifestError."""
        from repro_tui.bundles.reading import looks_like_bundle
        from repro_tui.manifest.loading import load
        from repro_tui.report.explain import sides
        from repro_tui.runs.catalog import find_run

        path = Path(name)
        if looks_like_bundle(path):
            return self._bundle(path)
        if path.is_file():
            return sides.of_manifest(load(path), store=self.store, mirrors=self.mirrors)
        return sides.of_run(find_run(self.runs, name), store=self.store, mirrors=self.mirrors)

    def with_record(self, name: str) -> tuple[Side, Side]:
        """Return the record of a run's manifest, else that manifest, and the run."""
        from repro_tui.report.explain import sides
        from repro_tui.runs.catalog import find_run

        if Path(name).is_file():
            raise UsageError(
                f"{name} is no run: what is it to be compared with?",
                where="repro-tui diff",
                hint="`repro-tui diff A B` takes two; one run alone is compared with the record of its manifest",
            )
        found = find_run(self.runs, name)
        loaded = sides.manifest_of_run(found)
        if loaded is None:
            raise UsageError(
                f"the manifest that {found.id} was started from is not there any more, or is faulty",
                where=str(found.options),
                hint=f"name what to compare with: `repro-tui diff MANIFEST {found.id}`",
            )
        left = sides.of_record(loaded, store=self.store, mirrors=self.mirrors)
        return left, sides.of_run(found, store=self.store, mirrors=self.mirrors)

    def _bundle(self, path: Path) -> Side:
        from repro_tui.artifacts.store import Store
        from repro_tui.bundles.opening import open_bundle
        from repro_tui.report.explain import sides

        store = Store(self.store)
        try:
            bundle = open_bundle(path, store)
            return sides.of_manifest(
                bundle.loaded,
                kind="bundle",
                name=path.name,
                store=self.store,
                mirrors=(*bundle.mirrors, *self.mirrors),
            )
        finally:
            store.close()
