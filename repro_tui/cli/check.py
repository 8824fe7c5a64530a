"""`repro-tui check MANIFEST…`: load manifests and report every problem, run nothing."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro_tui.cli import console
from repro_tui.cli.bundle_parts import given_bundle
from repro_tui.errors import ExitCode

if TYPE_CHECKING:
    from repro_tui.manifest.loading import Inspection, LoadedManifest


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "check",
        help="load manifests and report every problem",
        description="Load manifests and report every problem at once; run nothing. Exit code 0 or 2.",
    )
    parser.add_argument("manifests", nargs="+", type=Path, metavar="MANIFEST", help="a manifest (TOML), or a bundle")
    parser.add_argument(
        "--store", metavar="DIR", type=Path,
        help="where a bundle is opened (default: $REPRO_TUI_STORE, else the cache)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print problems and pins to stdout as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Report on each manifest; a good one is a line on stdout, problems and warnings are blocks on stderr."""
    inspections: list[tuple[Path, Inspection]] = [
        (path, _inspect(path, arguments.store)) for path in arguments.manifests
    ]
    if arguments.json:
        report = {"schema": 1, "manifests": [_as_json(path, inspection) for path, inspection in inspections]}
        console.data(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    else:
        for path, inspection in inspections:
            _tell(path, inspection)
    return int(ExitCode.USAGE if any(inspection.problems for _, inspection in inspections) else 0)


def _inspect(path: Path, store: Path | None) -> Inspection:
    """Look at the manifest that is meant: the file, or the one in a bundle, whose every byte is checked then."""
    from repro_tui.manifest.loading import Inspection, inspect

    bundle = given_bundle(path, store)
    return inspect(path) if bundle is None else Inspection(bundle.loaded, ())


def _tell(path: Path, inspection: Inspection) -> None:
    from repro_tui.manifest.warnings import warnings

    for problem in inspection.problems:
        console.say(problem.block(str(path)))
    if inspection.loaded is None:
        count = len(inspection.problems)
        console.say(f"{path}: {count} problem{'s' if count > 1 else ''}")
        return
    for warning in warnings(inspection.loaded):
        console.say(warning.block(f"warning: {path}"))
    pins = " ".join(f"{key}={value}" for key, value in _pins(inspection.loaded).items())
    console.data(f"{inspection.loaded.manifest.experiment.name} {pins}\n")


def _as_json(path: Path, inspection: Inspection) -> dict[str, Any]:
    from repro_tui.manifest.warnings import warnings

    loaded = inspection.loaded
    return {
        "path": str(path),
        "ok": loaded is not None,
        "name": None if loaded is None else loaded.manifest.experiment.name,
        "pins": {} if loaded is None else _pins(loaded),
        "problems": [problem.to_json() for problem in inspection.problems],
        "warnings": [] if loaded is None else [warning.to_json() for warning in warnings(loaded)],
    }


def _pins(loaded: LoadedManifest) -> dict[str, str]:
    """Return what an author copies into a manifest: the digests of code and lock, and the manifest's own."""
    from repro_tui.manifest.pins import code_sha256

    manifest = loaded.manifest
    pins = {}
    for stage in manifest.every_stage:
        if stage.task.name is not None:
            pins[stage.key("task", "code_sha256")] = code_sha256(loaded, stage)
        elif stage.task.code is not None:
            code = manifest.artifact(stage.task.code)
            pins[f"artifacts.{code.name}.tree_sha256"] = str(code.tree_sha256)
    if manifest.environment.lock_sha256 is not None:
        pins["environment.lock_sha256"] = manifest.environment.lock_sha256
    return {**pins, "sha256": loaded.sha256}
