"""report.json: write, read."""

from __future__ import annotations

import errno
import json
from pathlib import Path

from pydantic import ValidationError

from repro_tui import files
from repro_tui.errors import InfrastructureError, StoreFullError
from repro_tui.report.model import Report

MAX_BYTES = 64 << 20


def render(report: Report) -> str:
    """Return the report as JSON text, keys in the order of the model; every number in it is finite."""
    body = report.model_dump(mode="json")
    return json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read(path: Path) -> Report:
    """Return the report in a file; raises InfrastructureError where there is none, or another schema's."""
    try:
        content = files.read_plain(path, MAX_BYTES, follow=True)
    except OSError as error:
        raise InfrastructureError(f"there is no report to read: {error.strerror}", where=str(path)) from None
    return parse(content, where=str(path))


def parse(content: bytes, *, where: str) -> Report:
    """Return the report that these bytes are; raises InfrastructureError where they are none, or another schema's."""
    try:
        return Report.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise InfrastructureError(f"this is no report of schema 1: {key}: {first['msg']}", where=where) from None


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that a reader meets the old one, or the new one whole; raises StoreFullError."""
    try:
        files.write_whole(path, text.encode(errors="backslashreplace"))
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFullError(
                "no space left to write it", where=str(path), hint="free some space and run it again"
            ) from error
        raise
