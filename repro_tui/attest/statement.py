"""The in-toto statement about a run: which files and image it is about, and what came out.

The predicate has the names of the report's keys. Nothing in it depends on when or where it is signed, and it is written
as canonical JSON, so everybody who signs the same run signs the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from repro_tui.attest.files import parse_json
from repro_tui.errors import ReproError
from repro_tui.manifest.canonical import canonical
from repro_tui.manifest.record import read_record
from repro_tui.report.model import Report
from repro_tui.runs.directory import RunDirectory
from repro_tui.verify.metrics import open_output

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:repro-tui:verdict:v1"
MANIFEST, REPORT, RECORD, IMAGE, BUNDLE = "manifest.toml", "report.json", "record.json", "image", "bundle"
"""Names of subjects; an output is `out/` and its path."""

_EXACT_INTEGERS = 2**53
_HARDWARE = ("machine", "cpu_model", "cpu_vendor", "cores", "memory_bytes", "kernel", "driver", "gpus")
_CHECK = ("name", "component", "status", "expected", "observed", "tolerance", "required")


class RefusedError(Exception):
    """A payload is no statement of the kind that this tool signs; the text says what it is."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Subject(_Part):
    """Something that a statement is about, by digest."""

    name: str
    digest: dict[str, str]


class Digest(_Part):
    """A file by the SHA-256 of its bytes."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Predicate(_Part):
    """What has to be there; `body` of the statement has the whole."""

    verdict: str
    exit_code: int
    summary: str
    manifest: Digest
    report: Digest
    image: dict[str, Any] | None
    environment_hash: str | None
    run: dict[str, Any]
    experiment: dict[str, Any]


class Statement(_Part):
    """A statement of ours, as it was read."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    predicate_type: Literal["urn:repro-tui:verdict:v1"] = Field(alias="predicateType")
    subject: list[Subject]
    predicate: Predicate
    body: dict[str, Any]
    """The whole predicate."""

    def digest_of(self, name: str) -> str | None:
        """Return the SHA-256 of a subject, None where the statement names none."""
        return next((subject.digest.get("sha256") for subject in self.subject if subject.name == name), None)


def build(run: RunDirectory, report: Report, report_bytes: bytes, *, bundle: str | None = None) -> bytes:
    """Return the payload to sign: the statement about a finished run, as canonical JSON.

    Raises OSError where the manifest cannot be read, ValueError for a number that JSON cannot hold.
    """
    manifest = run.manifest.read_bytes()
    files = {MANIFEST: sha256(manifest), REPORT: sha256(report_bytes)}
    if run.record.is_file():
        files[RECORD] = sha256(run.record.read_bytes())
    if report.image is not None:
        files[IMAGE] = report.image.manifest_digest.removeprefix("sha256:")
    if bundle is not None:
        files[BUNDLE] = bundle
    for name in seed_reports(report):
        with suppress(OSError, ValueError), open_output(run.path, name) as file:
            files[name] = hashlib.file_digest(file, "sha256").hexdigest()
    files |= {f"out/{output.path}": output.sha256 for output in report.outputs if output.sha256 is not None}
    return canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in files.items()],
            "predicateType": PREDICATE_TYPE,
            "predicate": {**predicate(report, report_bytes), "seeds": _exact(seeds(run, manifest))},
        }
    )


def predicate(report: Report, report_bytes: bytes) -> dict[str, Any]:
    """Return what the predicate says that can be known from the report alone, as JSON values."""
    body = report.model_dump(mode="json")
    stated = {
        **{
            key: body[key] for key in ("verdict", "exit_code", "summary", "image", "environment_hash", "run", "outputs")
        },
        "experiment": {"name": report.experiment.name, "title": report.experiment.title},
        "manifest": {"sha256": report.manifest.sha256},
        "report": {"sha256": sha256(report_bytes)},
        "checks": [{key: check[key] for key in _CHECK} for check in body["checks"]],
        "metrics": [
            {"name": metric.name, "split": metric.place, "value": metric.value}
            for metric in report.metrics
            if metric.label is None
        ],
        "engine": report.engine and report.engine.name,
        "hardware": {key: report.host[key] for key in _HARDWARE if key in report.host},
    }
    if body.get("series") is not None:
        stated["series"] = body["series"]
    exact: dict[str, Any] = json.loads(canonical(_exact(stated)))
    return exact


def seed_reports(report: Report) -> list[str]:
    """Return the places of the reports of a series' runs below its own folder; none of a single run."""
    series = report.model_dump(mode="json").get("series") or {}
    return [f"{seed['run']}/{REPORT}" for seed in series.get("seeds", ())]


def read(payload: bytes) -> Statement:
    """Return the statement in a payload; raises RefusedError that says what it is instead."""
    try:
        value = parse_json(payload, where="", what="the payload")
    except Exception as error:
        raise RefusedError(str(error)) from None
    if not isinstance(value, dict):
        raise RefusedError("the payload is no JSON object")
    if value.get("_type") != STATEMENT_TYPE:
        raise RefusedError(f"the payload is of the type {value.get('_type')!r}; it should be {STATEMENT_TYPE}")
    if value.get("predicateType") != PREDICATE_TYPE:
        raise RefusedError(
            f"the statement is of the type {value.get('predicateType')!r}; a verdict has {PREDICATE_TYPE}"
        )
    try:
        return Statement.model_validate({**value, "body": value.get("predicate")})
    except ValidationError as error:
        first = error.errors()[0]
        raise RefusedError(f"the statement is incomplete: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def seeds(run: RunDirectory, manifest: bytes) -> dict[str, Any]:
    """Return the seeds that a run used: its record's, else the manifest's or the one that the command line gave."""
    try:
        if run.record.is_file():
            found = read_record(run.record).job.get("determinism", {})
        else:
            given = json.loads(run.options.read_bytes())["seed"]
            found = tomllib.loads(manifest.decode()).get("determinism", {})
            found = found if given is None else {**found, "seed": given}
        return {key: found[key] for key in ("seed", "data_seed") if found.get(key) is not None}
    except (ReproError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}  # a run that failed before it had any


def sha256(content: bytes) -> str:
    """Return the hex SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def _exact(value: Any) -> Any:
    """Return a JSON value whose integers any reader keeps exactly; a larger one is text."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _EXACT_INTEGERS:
        return str(value)
    if isinstance(value, Mapping):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_exact(item) for item in value]
    return value
