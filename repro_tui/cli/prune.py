"""`repro-tui prune`: shrink the store, by last use, and never what a live run uses."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from repro_tui.cli import console
from repro_tui.cli.options import size_bytes

_DEFAULT_DAYS = 30.0
_DAY_S = 24 * 3600.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "prune",
        help="shrink the store of downloads and images",
        description="Remove what was not used for a while from the store of downloads, artifacts and images, "
        f"longest unused first. Without an option: what was not used for {_DEFAULT_DAYS:.0f} days. "
        "What a live run uses stays; everything removed can be fetched or made again.",
        allow_abbrev=False,
    )
    parser.add_argument("--all", action="store_true", help="remove everything that no live run uses")
    parser.add_argument(
        "--max-size", metavar="SIZE", type=size_bytes, help='leave at most so much, like "5 GB" or 800MiB'
    )
    parser.add_argument("--older-than", metavar="DAYS", type=_days, help="remove what was not used for so many days")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be removed")
    parser.add_argument(
        "--store",
        metavar="DIR",
        type=Path,
        help="the store's folder (default: $REPRO_TUI_STORE, else the user's cache)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prune; what was removed goes to stdout, the sum to stderr."""
    from repro_tui.artifacts.pruning import prune
    from repro_tui.artifacts.store import Store, default_store_path
    from repro_tui.runs.words import size

    store = Store(arguments.store or default_store_path())
    days: float | None = arguments.older_than
    if days is None and arguments.max_size is None:
        days = _DEFAULT_DAYS
    pruned = prune(
        store,
        everything=arguments.all,
        max_bytes=arguments.max_size,
        older_than_s=None if days is None else days * _DAY_S,
        dry_run=arguments.dry_run,
    )
    now = time.time()
    lines = [
        f"{entry.name}  {size(entry.size_bytes)}  unused for {max(0.0, now - entry.used_at) / _DAY_S:.1f} days\n"
        for entry in pruned.removed
    ]
    console.data("".join(lines))
    for entry in pruned.in_use:
        console.say(f"in use, left: {entry.name}  {size(entry.size_bytes)}")
    would = "would free" if arguments.dry_run else "freed"
    console.say(f"{would} {size(pruned.freed_bytes)}, {size(pruned.left_bytes)} left in {store.root}")
    return 0


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days")
    return days
