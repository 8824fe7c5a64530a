"""Reading what somebody else sent: regular files only, bounded, and JSON in which no key stands twice."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from repro_tui.errors import ExitCode, InfrastructureError, ReproError, UsageError
from repro_tui.files import read_plain


class UnreadableError(ReproError):
    """What should be an attestation, a key or a report cannot be read as one: nothing is said about it."""

    exit_code = ExitCode.USAGE


def read_bounded(path: Path, limit_bytes: int, what: str) -> bytes:
    """Return the content of a file; raises UnreadableError where it is not there, no file, or larger than it may be."""
    try:
        return read_plain(path, limit_bytes, follow=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = (
            "check the path: it is looked for from the current folder" if isinstance(error, FileNotFoundError) else ""
        )
        raise UnreadableError(f"{what} cannot be read: {reason}", where=str(path), hint=hint) from None


def parse_json(content: bytes, *, where: str, what: str) -> Any:
    """Return a JSON value; raises UnreadableError for what is none, or could be read in two ways."""
    try:
        return json.loads(content, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        cut = " (it may have been cut off)" if isinstance(error, json.JSONDecodeError) else ""
        hint = "verify takes a report.json, an attestation (.dsse.json), a run or a bundle, as it was sent"
        raise UnreadableError(f"{what} is not JSON: {error}{cut}", where=where, hint=hint) from None


def need(extra: str, *packages: str) -> None:
    """Raise InfrastructureError where a package of one of the optional extras is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise InfrastructureError(
                f"this needs the package {package}, which is not installed", hint=f"pip install 'repro-tui[{extra}]'"
            )


def usage(message: str, *, where: str | Path = "", hint: str = "") -> UsageError:
    """Return an error about a key or an option."""
    return UsageError(message, where=str(where), hint=hint)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return body


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
