"""The record of a run: what was run, in which environment, and what came out. Later runs are compared with it.

A run writes record.json; an author ships the one of the published run beside the manifest (`[recorded]`).
"""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from repro_tui.errors import ManifestError, StoreFullError
from repro_tui.files import read_plain, write_whole
from repro_tui.manifest.paths import format_path

MAX_BYTES = 64 << 20


class RecordedImage(BaseModel):
    """Identity of the image; digests carry their `sha256:` prefix."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    manifest_digest: str
    config_digest: str
    diff_ids: list[str]


class Record(BaseModel):
    """One recorded run. Keys that a later version adds are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True, serialize_by_alias=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    experiment: str
    """Name of the experiment."""
    job: dict[str, Any]
    """What the results depend on besides image and environment (pins.pinned_job)."""
    environment: dict[str, Any]
    """Summary of the environment probe; its canonical hash is what `environment.hash` pins."""
    image: RecordedImage
    host: dict[str, Any] = {}
    """CPU, kernel, driver, GPU: shown in a comparison, never compared."""
    metrics: list[dict[str, Any]] = []
    """Final metrics: name, split, value, and the stage where the manifest has some."""
    digests: dict[str, str] = {}
    """Hex SHA-256 of the outputs, by name; "pretrain: weights" where the manifest has stages."""
    stages: dict[str, str] = {}
    """Tree digests of the folders that stages handed on, by stage; shown, never compared."""


def parted(name: str, record: Record) -> tuple[str, str]:
    """Return the stage and the name of an output as a record calls it; the stage is empty where there are none."""
    stage, colon, rest = name.partition(": ")
    return (stage, rest) if colon and stage in record.job.get("stage", {}) else ("", name)


def parse_record(text: str | bytes, *, where: str) -> Record:
    """Return the record in JSON text; raises ManifestError that says which key is wrong."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"the record is not JSON: {error}", where=where) from None
    try:
        return Record.model_validate(value)
    except ValidationError as error:
        problems = [f"{format_path(each['loc']) or 'the file'}: {each['msg']}" for each in error.errors()]
        raise ManifestError(
            f"the record is not one of a run: {'; '.join(problems)}", where=where, problems=problems
        ) from None


def read_record(path: Path) -> Record:
    """Return the record in a file; raises ManifestError where it is missing, too large, or no record."""
    try:
        content = read_plain(path, MAX_BYTES, follow=True)
    except OSError as error:
        raise ManifestError(f"the record cannot be read: {error.strerror}", where=str(path)) from None
    return parse_record(content, where=str(path))


def write_record(path: Path, record: Record) -> None:
    """Write a record: sorted keys, indented, so that the same record is the same bytes; whole or not at all.

    Raises ValueError for a number that is not finite, StoreFullError where no space is left.
    """
    text = json.dumps(record.model_dump(), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        write_whole(path, text.encode())
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFullError("no space left to write the record", where=str(path)) from error
        raise
