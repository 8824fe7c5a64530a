"""RunState: everything there is to know about a run, reduced from its two streams of lines.

`apply` takes the worker's events, `apply_line` the task's metric lines. Neither looks at a clock, a file or anything
but its argument, and the two streams touch different fields: replaying a run directory gives the same state, however
the lines were cut into pieces on the way. Memory is bounded whatever a task writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from repro_tui import wire
from repro_tui.events import (
    CancelRequested,
    CheckResult,
    EngineChosen,
    Event,
    Notice,
    ResourceSample,
    RunFinished,
    RunStarted,
    StageFinished,
    StageProgress,
    StageStarted,
    StageStatus,
    TaskStage,
    Verdict,
)
from repro_tui.runs.series import Series

MAX_NAMES = 4096
"""Of metrics; of series, tables and outputs a sixteenth each."""
MAX_NOTICES = 1000
MAX_COMPLAINTS = 20

DEFAULT_SPLIT = "test"


@dataclass(slots=True)
class Stage:
    """A stage: `running` from its begin to its end, then `status`; `done` of `total` in `unit`, total 0 not known."""

    name: str
    status: StageStatus | None = None
    running: bool = False
    started_at: float | None = None
    elapsed_s: float | None = None
    done: int = 0
    total: int = 0
    unit: str = ""
    text: str = ""
    detail: str = ""


def of_stage(stage: str, name: str) -> str:
    """Return a name with the manifest's stage that it is of in front: "pretrain: loss"; as it is without one."""
    return f"{stage}: {name}" if stage else name


@dataclass(frozen=True, slots=True, order=True)
class MetricKey:
    """What a metric is of: name, split, the class where it is of one only, the stage where the manifest has some."""

    name: str
    split: str = DEFAULT_SPLIT
    label: str = ""
    stage: str = ""

    def __str__(self) -> str:
        return of_stage(self.stage, f"{self.split}/{self.name}" + (f"[{self.label}]" if self.label else ""))


@dataclass(frozen=True, slots=True)
class MetricValue:
    """The newest value of a metric; it may be NaN or infinite. None where what was written is no number."""

    value: float | None
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table that the task wrote."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Output:
    """A file that the task says it wrote under /out; the digest it claims, if any, is never believed."""

    path: str
    sha256: str = ""


@dataclass(slots=True)
class RunState:
    """A run so far."""

    run_id: str = ""
    experiment: str = ""
    title: str = ""
    manifest: str = ""
    version: str = ""
    pid: int = 0
    started_at: float | None = None
    last_at: float | None = None
    stages: dict[str, Stage] = field(default_factory=dict)
    engine: EngineChosen | None = None
    checks: dict[str, CheckResult] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    notices_dropped: int = 0
    resources: ResourceSample | None = None
    peak_memory_bytes: int = 0
    cancel_requested_by: str = ""
    verdict: Verdict | None = None
    exit_code: int | None = None
    summary: str = ""
    finished_at: float | None = None
    task_stages: dict[str, TaskStage] = field(default_factory=dict)
    """The manifest's stages that have begun, by name, with the last that was told of each; none without `[[stage]]`."""

    task_stage: str = ""
    """The manifest's stage that the lines of the task are of."""
    phase: str = ""
    step: int = 0
    total_steps: int = 0
    metrics: dict[MetricKey, MetricValue] = field(default_factory=dict)
    series: dict[str, Series] = field(default_factory=dict)
    """By the key of a step line ("loss"), or, for a metric with a step, by "split/name"; as tables and outputs with the
    manifest's stage in front where it has some: "pretrain: loss"."""
    tables: dict[str, Table] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    runtime: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lines: int = 0
    bad_lines: int = 0
    complaints: list[str] = field(default_factory=list)
    """What was wrong with the first few bad lines."""
    names_dropped: int = 0

    @property
    def finished(self) -> bool:
        """True once the worker has said its last word."""
        return self.verdict is not None

    @property
    def current_stage(self) -> Stage | None:
        """The stage that is running."""
        return next((stage for stage in self.stages.values() if stage.running), None)

    @property
    def timings_s(self) -> dict[str, float]:
        """Seconds of each stage that has ended."""
        return {name: stage.elapsed_s for name, stage in self.stages.items() if stage.elapsed_s is not None}

    def copy(self) -> RunState:
        """Return a state that later lines do not change."""
        return replace(
            self,
            stages={name: replace(stage) for name, stage in self.stages.items()},
            checks=dict(self.checks),
            notices=list(self.notices),
            task_stages=dict(self.task_stages),
            metrics=dict(self.metrics),
            series={name: series.copy() for name, series in self.series.items()},
            tables=dict(self.tables),
            outputs=dict(self.outputs),
            runtime=dict(self.runtime),
            notes=list(self.notes),
            complaints=list(self.complaints),
        )

    # --- events of the worker -----------------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Take in one event."""
        self.last_at = event.at if self.last_at is None else max(self.last_at, event.at)
        match event:
            case RunStarted():
                self.run_id, self.experiment, self.title = event.run_id, event.experiment, event.title
                self.manifest, self.version, self.pid = event.manifest, event.version, event.pid
                self.started_at = event.at
                for name in event.stages:
                    self._stage(name)
            case StageStarted():
                stage = self._stage(event.stage)
                stage.running, stage.status, stage.started_at = True, None, event.at
            case StageProgress():
                stage = self._stage(event.stage)
                stage.done, stage.total, stage.unit, stage.text = event.done, event.total, event.unit, event.text
            case StageFinished():
                stage = self._stage(event.stage)
                stage.running, stage.status = False, event.status
                stage.elapsed_s, stage.detail = event.elapsed_s, event.detail
            case TaskStage():
                if self._room(self.task_stages, event.name, MAX_NAMES):
                    self.task_stages[event.name] = event
            case EngineChosen():
                self.engine = event
            case Notice():
                if len(self.notices) < MAX_NOTICES:
                    self.notices.append(event)
                else:
                    self.notices_dropped += 1
            case CheckResult():
                self.checks[event.name] = event
            case ResourceSample():
                self.resources = event
                self.peak_memory_bytes = max(self.peak_memory_bytes, event.memory_bytes)
            case CancelRequested():
                self.cancel_requested_by = event.by
            case RunFinished():
                self.verdict, self.exit_code, self.summary = event.verdict, event.exit_code, event.summary
                self.finished_at = event.at
            case _:
                pass

    def _stage(self, name: str) -> Stage:
        return self.stages.setdefault(name, Stage(name))

    # --- lines of the task --------------------------------------------------------------------------------------------

    def apply_line(self, line: str | bytes) -> None:
        """Take in one line of the task's metrics file; a bad one is counted, and the first few are explained."""
        self.lines += 1
        if not line.strip():
            return
        try:
            self._apply_line(wire.decode(line))
        except ValueError as error:
            self.complain(f"line {self.lines}: {error}")

    def complain(self, what: str) -> None:
        """Count a line that could not be taken in."""
        self.bad_lines += 1
        if len(self.complaints) < MAX_COMPLAINTS:
            self.complaints.append(what[:500])

    def _apply_line(self, body: Mapping[str, Any]) -> None:
        match body["event"]:
            case "stage":
                self.task_stage, self.phase, self.step, self.total_steps = body["stage"], "", 0, 0
                self.runtime = {}
            case "phase":
                self.phase = body["phase"]
            case "step":
                self._step(body)
            case "metric":
                self._metric(body)
            case "table":
                table = Table(tuple(str(name) for name in body["columns"]), tuple(_row(row) for row in body["rows"]))
                name = of_stage(self.task_stage, body["name"])
                if self._room(self.tables, name, MAX_NAMES // 16):
                    self.tables[name] = table
            case "output":
                name = of_stage(self.task_stage, body["name"])
                if self._room(self.outputs, name, MAX_NAMES // 16):
                    path = _inside(self.task_stage, body["path"])
                    self.outputs[name] = Output(path, str(body.get("sha256") or "").lower())
            case "runtime":
                facts = {key: value for key, value in body.items() if key != "event"}
                if len(self.runtime) + len(facts) <= MAX_NAMES:
                    self.runtime.update(facts)
            case "note":
                if len(self.notes) < MAX_NOTICES:
                    self.notes.append(body["text"])

    def _step(self, body: Mapping[str, Any]) -> None:
        self.step = body["step"]
        total = body.get("total")
        if isinstance(total, int) and not isinstance(total, bool):
            self.total_steps = total
        for key, value in body.items():
            if key not in {"event", "step", "total"} and (number := wire.number(value)) is not None:
                self._point(of_stage(self.task_stage, key), self.step, number)

    def _metric(self, body: Mapping[str, Any]) -> None:
        label = body.get("class")
        split = str(body.get("split") or DEFAULT_SPLIT)
        key = MetricKey(body["name"], split, "" if label is None else str(label), self.task_stage)
        step = body.get("step")
        step = step if isinstance(step, int) and not isinstance(step, bool) else None
        number = wire.number(body["value"])
        if self._room(self.metrics, key, MAX_NAMES):
            self.metrics[key] = MetricValue(number, step)
        if step is not None and number is not None:
            self._point(str(key), step, number)

    def _point(self, name: str, step: int, value: float) -> None:
        if self._room(self.series, name, MAX_NAMES // 16):
            self.series.setdefault(name, Series()).add(step, value)

    def _room(self, names: Mapping[Any, Any], name: object, limit: int) -> bool:
        if name in names or len(names) < limit:
            return True
        self.names_dropped += 1
        return False


def _inside(stage: str, path: str) -> str:
    """Return a path as a stage told it, below /out, as it is below the run's folder of outputs."""
    path = path.removeprefix("/out/") if stage else path
    return f"{stage}/{path}" if stage and not path.startswith("/") else path


def _row(row: Any) -> tuple[Any, ...]:
    if not isinstance(row, list):
        raise ValueError("table: a row is not a list")  # noqa: TRY004 - one error type for one kind of fault
    return tuple(row)
