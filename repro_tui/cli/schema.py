"""`repro-tui schema`: print the JSON Schema of manifests, for an editor."""

from __future__ import annotations

import argparse

from repro_tui.cli import console


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "schema",
        help="print the JSON Schema of manifests",
        description="Print the JSON Schema (draft 2020-12) of manifests to stdout, for an editor that completes TOML.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every command has this form
    """Print the schema as it is shipped with this version."""
    from importlib.resources import files

    console.data(files("repro_tui.manifest").joinpath("manifest.schema.json").read_text(encoding="utf-8"))
    return 0
