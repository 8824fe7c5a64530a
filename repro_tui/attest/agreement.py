"""Whether a run directory says the same thing everywhere: its report against its own events, files and record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from repro_tui.attest.files import UnreadableError, read_bounded
from repro_tui.attest.statement import sha256
from repro_tui.errors import ExitCode, ReproError
from repro_tui.manifest.canonical import digest
from repro_tui.manifest.loading import MAX_BYTES as MAX_MANIFEST_BYTES
from repro_tui.manifest.record import MAX_BYTES as MAX_RECORD_BYTES
from repro_tui.manifest.record import read_record
from repro_tui.report.build import build_report
from repro_tui.report.model import Report
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.reader import read_state
from repro_tui.verify.environment import environment_hash, read_summary
from repro_tui.verify.metrics import open_output
from repro_tui.verify.verdict import Decision, decide

_REPLAYED = ("verdict", "exit_code", "summary", "engine", "checks", "metrics", "tables")


class Status(StrEnum):
    """What became of one question."""

    HOLDS = "holds"
    DIFFERS = "differs"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One question about an attestation or a run, and its answer in words."""

    name: str
    status: Status
    detail: str


def findings(run: RunDirectory, report: Report) -> list[Finding]:
    """Return what can be recomputed from a run directory; the first that differs is the first to tell."""
    return [
        _manifest(run, report),
        _events(run, report),
        _environment(run, report),
        *_record(run, report),
        *(file_below(run.out, f"output {name}", f"out/{path}", path, sha) for name, path, sha in _outputs(report)),
    ]


def compared(name: str, what: str, expected: str | None, observed: str | None) -> Finding:
    """Return whether two digests are the same, in words."""
    if expected == observed:
        return Finding(name, Status.HOLDS, f"{what}: {short(observed)}")
    return Finding(name, Status.DIFFERS, f"{what} is {short(observed)}, and should be {short(expected)}")


def short(digest_: str | None) -> str:
    """Return a digest for people: the first sixteen digits are enough to tell two apart."""
    return "nothing" if digest_ is None else f"{digest_.removeprefix('sha256:')[:16]}…"


def _manifest(run: RunDirectory, report: Report) -> Finding:
    try:
        observed = sha256(read_bounded(run.manifest, MAX_MANIFEST_BYTES, "the manifest"))
    except UnreadableError as error:
        return Finding("manifest", Status.NOT_CHECKED, f"{run.manifest}: {error.message}")
    return compared("manifest", "SHA-256 of manifest.toml", report.manifest.sha256, observed)


def _events(run: RunDirectory, report: Report) -> Finding:
    """Replay the journal and the metrics into a report of their own, and compare what a journal can tell."""
    if not run.events.is_file():
        return Finding("events", Status.NOT_CHECKED, "events.jsonl is not here")
    state = read_state(run)
    if state.verdict is None or state.exit_code is None:
        return Finding("events", Status.DIFFERS, "the run's events do not end: it has not finished")
    try:
        decision = Decision(state.verdict, ExitCode(state.exit_code), state.summary)
        replayed = build_report(
            state,
            decision,
            manifest=Path(report.manifest.path),
            manifest_sha256=report.manifest.sha256,
            out=run.out,
            finished_at=state.finished_at or 0.0,
        ).model_dump(mode="json")
    except ValueError as error:
        return Finding("events", Status.DIFFERS, f"the run's events are none that a worker writes: {error}")
    body = report.model_dump(mode="json")
    told = [(key, body[key], replayed[key]) for key in _REPLAYED]
    told += [(f"run.{key}", body["run"][key], replayed["run"][key]) for key in ("id", "version")]
    for key, reported, observed in told:
        if reported != observed:
            where = _first_difference(key, reported, observed)
            return Finding("events", Status.DIFFERS, f"report.json and the run's events do not agree: {where}")
    if report.failure is None and decide(list(state.checks.values())).verdict is not report.verdict:
        return Finding("events", Status.DIFFERS, f"the checks do not bear the verdict {report.verdict} out")
    return Finding("events", Status.HOLDS, "replayed, the run's events and metrics say what report.json says")


def _first_difference(key: str, reported: Any, observed: Any) -> str:
    if isinstance(reported, list) and isinstance(observed, list) and len(reported) == len(observed):
        for one, other in zip(reported, observed, strict=True):
            if one != other:
                name = one.get("name", "") if isinstance(one, dict) else ""
                parts = sorted(part for part in one if one[part] != other.get(part)) if isinstance(other, dict) else []
                return f"{key}, {name}: {', '.join(parts)}"
    short_ = all(isinstance(value, str | int) for value in (reported, observed))
    return f"{key} is {reported!r} in the one, {observed!r} in the other" if short_ else key


def _environment(run: RunDirectory, report: Report) -> Finding:
    if report.environment_hash is None:
        return Finding("environment", Status.NOT_CHECKED, "the run did not measure its environment")
    if not run.environment.is_file():
        return Finding("environment", Status.NOT_CHECKED, "environment.json is not here")
    try:
        read_bounded(run.environment, MAX_RECORD_BYTES, "the environment's summary")
        observed = environment_hash(read_summary(run.environment))
    except (ReproError, ValueError, RecursionError) as error:
        return Finding("environment", Status.DIFFERS, f"environment.json: {error}")
    return compared("environment", "the hash of environment.json", report.environment_hash, observed)


def _record(run: RunDirectory, report: Report) -> list[Finding]:
    if not run.record.is_file():
        return []
    try:
        record = read_record(run.record)
        hashed = digest(record.environment)
    except (ReproError, ValueError) as error:
        return [Finding("record", Status.DIFFERS, f"record.json: {error}")]
    if report.environment_hash not in {None, hashed}:
        return [compared("record", "the environment in record.json", report.environment_hash, hashed)]
    image = None if report.image is None else report.image.manifest_digest
    return [compared("record", "the image in record.json", image, record.image.manifest_digest)]


def _outputs(report: Report) -> list[tuple[str, str, str]]:
    return [(output.name, output.path, output.sha256) for output in report.outputs if output.sha256 is not None]


def file_below(folder: Path, name: str, shown: str, path: str, expected: str) -> Finding:
    """Return whether a file below a folder has a digest; no link is followed out of the folder."""
    try:
        with open_output(folder, path) as file:
            observed = hashlib.file_digest(file, "sha256").hexdigest()
    except (ValueError, OSError):
        return Finding(name, Status.NOT_CHECKED, f"{shown} is not here")
    return compared(name, f"SHA-256 of {shown}", expected, observed)
