"""`repro-tui lock MANIFEST`: resolve and pin what is loose, and say what changed."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.cli import console
from repro_tui.cli.image_parts import Progress, add_mirrors, add_store, store_of
from repro_tui.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from repro_tui.artifacts.store import Store
    from repro_tui.authoring.locking.lock import Locked

ENV_DEBIAN_MIRROR = "REPRO_TUI_DEBIAN_MIRROR"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "lock",
        help="resolve and pin what is loose in a manifest, and say what changed",
        description="Resolve and pin what is loose or stale in a manifest: the dependency lock, the image, artifacts, "
        "code, the environment. What is pinned and still right stays; comments and order of the file stay.",
        allow_abbrev=False,
    )
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, nargs="?", help="a manifest (TOML), loose or not")
    parser.add_argument(
        "--check", action="store_true",
        help="change nothing, ask nobody; name what is loose or stale, and exit with 1 where anything is",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    parser.add_argument(
        "--upgrade", metavar="PACKAGE", nargs="?", action="append", const="",
        help="renew this dependency as far as the requirements allow, without a name all of them; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--only", metavar="PART", action="append", default=[],
        help="this part only: dependencies, image, artifacts, code, environment; repeatable, or with commas",
    )  # fmt: skip
    parser.add_argument("--engine", metavar="NAME", help="the engine that the environment is looked at in")
    parser.add_argument("--json", action="store_true", help="print JSON to stdout")
    add_store(parser)
    add_mirrors(parser)
    parser.add_argument("--debian-mirror", metavar="URL", help=f"any Debian mirror; also ${ENV_DEBIAN_MIRROR}")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Lock, or look."""
    parts = _parts(arguments.only)
    _sort_out(arguments)
    store = store_of(arguments)
    if arguments.check:
        if arguments.upgrade or arguments.dry_run:
            raise UsageError("--check changes nothing, and goes with neither --upgrade nor --dry-run", where="--check")
        return _check(arguments.manifest, parts, store, as_json=arguments.json)

    from repro_tui.artifacts.mirrors import mirrors_from
    from repro_tui.authoring.locking.lock import Wishes, lock
    from repro_tui.authoring.locking.resolving import Upgrade

    names: list[str] = arguments.upgrade or []
    wishes = Wishes(
        parts=parts, upgrade=Upgrade("" in names, tuple(filter(None, names))), offline=arguments.offline,
        dry_run=arguments.dry_run, engine=arguments.engine, mirrors=tuple(mirrors_from(arguments.mirror)),
        debian_mirror=arguments.debian_mirror or os.environ.get(ENV_DEBIAN_MIRROR) or None,
    )  # fmt: skip
    locked = lock(arguments.manifest, wishes, store, notify=console.say, progress=Progress())
    console.data(_as_json(locked) if arguments.json else _as_text(locked, dry_run=arguments.dry_run))
    for note in locked.notes:
        console.say(f"note: {note}")
    return 0


def _sort_out(arguments: argparse.Namespace) -> None:
    """Take the manifest out of `--upgrade MANIFEST`, which the parser takes for a package's name."""
    names: list[str] = arguments.upgrade or []
    given: Path | None = arguments.manifest
    if names and names[-1].endswith(".toml") and (given is None or not given.exists()):
        arguments.manifest = Path(names[-1])
        names[-1] = "" if given is None else str(given)
    if arguments.manifest is None:
        raise UsageError("which manifest?", where="MANIFEST", hint="repro-tui lock MANIFEST.toml")


def _parts(only: list[str]) -> tuple[str, ...]:
    from repro_tui.authoring.locking.stale import PARTS

    wanted = {part.strip() for word in only for part in word.split(",") if part.strip()}
    if unknown := sorted(wanted - set(PARTS)):
        raise UsageError(f"there is no part {unknown[0]!r}", where="--only", hint=f"parts: {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in wanted) or PARTS


def _check(path: Path, parts: tuple[str, ...], store: Store, *, as_json: bool) -> int:
    from repro_tui.authoring.locking.lock import open_subject
    from repro_tui.authoring.locking.stale import findings

    found = [finding for finding in findings(open_subject(path), store) if finding.part in parts]
    if as_json:
        rows = [{"key": each.key, "where": each.where, "words": each.words} for each in found]
        console.data(json.dumps({"schema": 1, "findings": rows}, indent=2, ensure_ascii=False) + "\n")
    else:
        console.data("".join(f"{each.where}: {each.key}: {each.words}\n" for each in found))
        console.say(
            f"{path}: {len(found)} loose or stale; `repro-tui lock {path}` pins what can be" if found
            else f"{path}: everything is pinned"
        )  # fmt: skip
    return int(ExitCode.DIFFERS) if found else 0


def _as_json(locked: Locked) -> str:
    document = {
        "schema": 1,
        "changes": [{"key": each.key, "old": each.old, "new": each.new} for each in locked.changes],
        "packages": list(locked.packages), "files": list(map(str, locked.files)), "notes": list(locked.notes),
    }  # fmt: skip
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _as_text(locked: Locked, *, dry_run: bool) -> str:
    lines = [f"  {line}" for line in locked.packages]
    lines += [
        f"{each.key} = {each.new}" if each.old is None else f"{each.key}: {each.old} → {each.new}"
        for each in locked.changes
    ]
    verb = "would write" if dry_run else "wrote"
    lines += [f"{verb} {file}" for file in locked.files] or ["nothing changed"]
    return "\n".join(lines) + "\n"
