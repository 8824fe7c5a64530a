"""What the stages of one run share: where to write, whom to tell, and what an earlier stage hands to a later one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro_tui.artifacts.store import Store
from repro_tui.engines.base import Engine, GpuRequest
from repro_tui.engines.gpus.model import Gpu
from repro_tui.errors import DriftError
from repro_tui.events import CheckResult, CheckStatus, Event, Notice, StageProgress, StageStatus
from repro_tui.images.model import Image
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.pipeline.interrupt import Interrupt
from repro_tui.pipeline.plan import Options
from repro_tui.pipeline.reserve import Reserve
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.journal import Journal
from repro_tui.runs.state import RunState

if TYPE_CHECKING:
    from repro_tui.pipeline.handed_on import HandedOn
    from repro_tui.pipeline.series import Seed
    from repro_tui.pipeline.stages.artifacts import Fetching
    from repro_tui.pipeline.task import TaskRun
    from repro_tui.report.model import SeriesReported

_PROGRESS_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True)
class StageResult:
    """How a stage ended, when it did not raise."""

    status: StageStatus = StageStatus.PASSED
    detail: str = ""


@dataclass
class Context:
    """One run. The fields without a value are set by the stage that finds them out, and read by later ones."""

    run: RunDirectory
    options: Options
    journal: Journal
    store: Store
    interrupt: Interrupt
    reserve: Reserve
    stage: str = ""
    state: RunState = field(default_factory=RunState)
    """What a reader of the run directory knows by now."""

    loaded: LoadedManifest = field(init=False)
    engine: Engine = field(init=False)
    image: Image = field(init=False)
    gpus: GpuRequest | None = None
    """What the containers ask the engine for."""
    gpu_devices: tuple[Gpu, ...] = ()
    """The same as they were found; empty where the engine's host is not this one."""
    artifacts: dict[str, Path] = field(default_factory=dict)
    fetching: Fetching = field(init=False)
    summary: dict[str, Any] | None = None
    """What the environment probe found."""
    task: TaskRun = field(init=False)
    handed_on: dict[str, HandedOn] = field(default_factory=dict)
    """What the manifest's stages that have ended hand on, by name."""
    digests: dict[str, str] = field(default_factory=dict)
    """Hex SHA-256 of the outputs, by name."""

    series: SeriesReported | None = None
    """Of a series: what its seeds gave so far."""
    seeds: tuple[Seed, ...] = ()
    """Of a series: its runs."""

    cleanup: ExitStack = field(default_factory=ExitStack)
    """What to put away at the end, whatever it is: containers first of all."""

    _progress_at: dict[str, float] = field(default_factory=dict)
    _progress_lock: threading.Lock = field(default_factory=threading.Lock)
    _state_lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def checks(self) -> list[CheckResult]:
        """Every check of this run, with what it found so far."""
        return list(self.state.checks.values())

    def emit(self, event: Event) -> None:
        """Append an event to the run's journal; any thread may."""
        with self._state_lock:
            self.journal.append(event)
            self.state.apply(event)

    def notice(self, level: str, message: str, *, hint: str = "") -> None:
        """Tell a person something: level "info", "warning" or "error"."""
        self.emit(Notice(at=time.time(), level=level, message=message, hint=hint, stage=self.stage))

    def record(self, result: CheckResult) -> None:
        """Keep a check's result, in place of an earlier one of the same name, and tell it."""
        self.emit(result)

    def compare(self, name: str, component: str, *, expected: str, observed: str, detail: str = "") -> bool:
        """Record a check of two texts that must be equal, and say whether they are."""
        same = expected == observed
        self.record(
            CheckResult(
                at=time.time(),
                name=name,
                component=component,
                status=CheckStatus.MATCH if same else CheckStatus.DIFFERS,
                expected=expected,
                observed=observed,
                detail="" if same else detail,
            )
        )
        return same

    def drift(self, error: DriftError) -> None:
        """Stop at a drift; with --allow-drift tell it and go on (the check that found it keeps the verdict)."""
        if not self.options.allow_drift:
            raise error
        self.notice("warning", f"{error.message} (going on: --allow-drift)", hint=error.hint)

    def progress(self, unit: str, *, stage: str | None = None) -> Callable[[int, int, str], None]:
        """Return a callback (done, total, text) that tells the stage's progress, ten times a second at most."""
        of = stage or self.stage

        def tell(done: int, total: int, text: str = "") -> None:
            if threading.current_thread() is threading.main_thread():
                self.interrupt.check()
            now = time.monotonic()
            with self._progress_lock:
                if now - self._progress_at.get(of, 0.0) < _PROGRESS_INTERVAL_S and not (total and done >= total):
                    return
                self._progress_at[of] = now
            self.emit(StageProgress(at=time.time(), stage=of, done=done, total=total, unit=unit, text=text))

        return tell

    @property
    def log(self) -> Path:
        """Raw log of the current stage."""
        return self.run.log(self.stage)
