"""What a run tells: one frozen class an event, one JSON line each in events.jsonl.

The worker writes them, everything else only reads them (runs/state.py is the one reducer). Times are seconds since the
epoch (`at`) or durations in seconds (`…_s`); sizes are bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar


class StageStatus(StrEnum):
    """How a stage ended."""

    PASSED = "passed"
    CACHED = "cached"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CheckStatus(StrEnum):
    """What a check found. Unverifiable is never a pass."""

    MATCH = "match"
    WITHIN_TOLERANCE = "within tolerance"
    DIFFERS = "differs"
    UNVERIFIABLE = "unverifiable"
    NOT_RUN = "not run"


class Verdict(StrEnum):
    """The word a run ends with; CANCELLED is the absence of one."""

    REPRODUCED = "REPRODUCED"
    METRICS_DIFFER = "METRICS DIFFER"
    ENVIRONMENT_DRIFT = "ENVIRONMENT DRIFT"
    INCONCLUSIVE = "INCONCLUSIVE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base: `at` is when, in seconds since the epoch."""

    kind: ClassVar[str]
    at: float

    def to_line(self) -> str:
        """Return the event as one JSON line with its newline."""
        body = {"kind": self.kind, **{field.name: getattr(self, field.name) for field in fields(self)}}
        return json.dumps(body, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The worker has the run directory; `stages` in the order they will run."""

    kind: ClassVar[str] = "run_started"
    run_id: str
    experiment: str
    title: str
    manifest: str
    stages: tuple[str, ...]
    version: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted(Event):
    """A stage began."""

    kind: ClassVar[str] = "stage_started"
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageProgress(Event):
    """How far a stage is; `unit` is "bytes", "steps" or "files"; `total` 0 where it is not known."""

    kind: ClassVar[str] = "stage_progress"
    stage: str
    done: int
    total: int
    unit: str
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFinished(Event):
    """A stage ended."""

    kind: ClassVar[str] = "stage_finished"
    stage: str
    status: StageStatus
    elapsed_s: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStage(Event):
    """A stage of the manifest (`[[stage]]`) begins, or with a `status` has ended; `place` of `count`, from 1.

    `key` is the digest of all it depends on, `tree_sha256` that of the folder it hands on. Of a stage that was taken
    from the store `run` is where it was made.
    """

    kind: ClassVar[str] = "task_stage"
    name: str
    place: int
    count: int
    status: StageStatus | None = None
    elapsed_s: float = 0.0
    key: str = ""
    tree_sha256: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChosen(Event):
    """Which engine runs the containers, where, and why it was chosen."""

    kind: ClassVar[str] = "engine_chosen"
    engine: str
    host: str
    reason: str
    capabilities: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Event):
    """Something a person should read: `level` is "info", "warning" or "error"."""

    kind: ClassVar[str] = "notice"
    level: str
    message: str
    hint: str = ""
    stage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult(Event):
    """One check, as it comes in; a later result with the same name replaces it.

    `required` is False where the check informs but does not decide (a digest recorded on other hardware). `component`
    is "image", "artifacts", "job", "environment", "metrics" or "digests" and decides which verdict a difference means.
    """

    kind: ClassVar[str] = "check"
    name: str
    component: str
    status: CheckStatus
    expected: str = ""
    observed: str = ""
    tolerance: str = ""
    detail: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSample(Event):
    """CPU of the container in percent of one core since the last sample; memory in bytes.

    Each of `gpus`: index, uuid, name, utilisation_percent, memory_bytes, memory_total_bytes, temperature_c, power_w; a
    value that the driver does not tell is left out.
    """

    kind: ClassVar[str] = "resources"
    cpu_percent: float
    memory_bytes: int
    processes: int = 0
    gpus: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested(Event):
    """Somebody asked the run to stop."""

    kind: ClassVar[str] = "cancel_requested"
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """The last event of a run; report.json exists before it is written."""

    kind: ClassVar[str] = "run_finished"
    verdict: Verdict
    exit_code: int
    summary: str


_KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        RunStarted, StageStarted, StageProgress, StageFinished, TaskStage, EngineChosen, Notice, CheckResult,
        ResourceSample, CancelRequested, RunFinished,
    )
}  # fmt: skip


def from_line(line: str | bytes) -> Event | None:
    """Parse one line of events.jsonl; None for a kind this version does not know.

    Raises ValueError for a line that is not an event (a half-written last line is the reader's to withhold).
    """
    body = json.loads(line)
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - one error type for one kind of fault
    cls = _KINDS.get(str(body.pop("kind", "")))
    if cls is None:
        return None
    known = {field.name for field in fields(cls)}
    values: dict[str, Any] = {key: value for key, value in body.items() if key in known}
    for key, enum in (("status", CheckStatus if cls is CheckResult else StageStatus), ("verdict", Verdict)):
        if values.get(key) is not None:
            values[key] = enum(values[key])
    if "stages" in values:
        values["stages"] = tuple(values["stages"])
    if "gpus" in values:
        values["gpus"] = tuple(values["gpus"])
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"incomplete {cls.kind} event: {error}") from None
