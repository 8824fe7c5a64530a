"""Files beside the manifest that it pins by digest: the lock and the record of the published run."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from repro_tui.errors import ManifestError
from repro_tui.manifest.canonical import digest
from repro_tui.manifest.lines import Lines
from repro_tui.manifest.paths import Part, format_path, lookup
from repro_tui.manifest.problems import Problem, show
from repro_tui.manifest.record import MAX_BYTES, Record, parse_record


def pinned_file_problems(
    data: Mapping[str, Any], lines: Lines, resolve: Callable[[str], Path]
) -> tuple[Record | None, list[Problem]]:
    """Return the record (where there is a good one) and what is wrong with lock, Dockerfile and record."""
    problems: list[Problem] = []

    def problem(path: tuple[Part, ...], found: str, allowed: str, hint: str = "") -> None:
        problems.append(Problem(format_path(path), lines.line(path), found, allowed, hint))

    def content(file: tuple[Part, ...], pin: tuple[Part, ...], what: str, again: str) -> bytes | None:
        """Return the content of the file that is named at one path and pinned at another."""
        relative, pinned = lookup(data, file), lookup(data, pin)
        if not isinstance(relative, str) or not relative.strip():
            return None
        path = resolve(relative.strip())
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
                problem(
                    file, f"{show(relative)}, which is no file of a sensible size", f"{what}, relative to the manifest"
                )
                return None
            read = path.read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            problem(
                file,
                f"{show(relative)}, which cannot be read: {reason}",
                f"{what}, relative to the manifest",
                f"looked for {path}",
            )
            return None
        digest_now = hashlib.sha256(read).hexdigest()
        if isinstance(pinned, str) and len(pinned) == 64 and pinned != digest_now:
            problem(pin, f"{pinned}, but {relative} has SHA-256 {digest_now}", f"the SHA-256 of {what}", again)
        return read

    content(
        ("environment", "lock"), ("environment", "lock_sha256"), "the lock file",
        "the lock has changed since it was pinned: restore it, or record the experiment again with the new one",
    )  # fmt: skip
    dockerfile = lookup(data, ("image", "dockerfile"))
    if isinstance(dockerfile, str) and dockerfile.strip() and not resolve(dockerfile.strip()).is_file():
        problem(
            ("image", "dockerfile"), f"{show(dockerfile)}, which is no file", "a Dockerfile, relative to the manifest",
            f"looked for {resolve(dockerfile.strip())}",
        )  # fmt: skip
    written = content(
        ("recorded", "file"), ("recorded", "sha256"), "the record",
        "the record has changed since it was pinned: restore it, or pin the new one",
    )  # fmt: skip
    if written is None:
        return None, problems
    try:
        record = parse_record(written, where="")
    except ManifestError as error:
        problem(("recorded", "file"), error.message, "record.json as a run writes it")
        return None, problems
    _compare(record, data, problem)
    return record, problems


def _compare(record: Record, data: Mapping[str, Any], problem: Callable[..., None]) -> None:
    """Report where the record and the manifest contradict each other."""
    pinned = lookup(data, ("environment", "hash"))
    if isinstance(pinned, str) and pinned.startswith("sha256:"):
        try:
            recorded = digest(record.environment)
        except ValueError as error:
            problem(
                ("recorded", "file"), f"an environment that cannot be hashed: {error}", "record.json as a run writes it"
            )
        else:
            if recorded != pinned:
                problem(
                    ("environment", "hash"), f"{pinned}, but the record's environment has {recorded}",
                    "the hash of the environment in the record", "hash and record are of one run: pin both again",
                )  # fmt: skip
