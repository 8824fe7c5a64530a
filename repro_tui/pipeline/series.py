"""A series: one whole run a seed, each by a worker of its own, below one run directory that every reader understands.

The image and the artifacts are made ready once, the seeds then find them in the store. A seed looks at its series'
cancel file itself, and ends where its series was killed.
"""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from repro_tui import wire
from repro_tui.errors import CancelledError
from repro_tui.events import ResourceSample, StageFinished, StageStatus, Verdict
from repro_tui.manifest.models import Verify
from repro_tui.pipeline import runner, series_verdict, worker
from repro_tui.pipeline.context import Context, StageResult
from repro_tui.pipeline.plan import Options
from repro_tui.pipeline.series_room import Room, room, share_of
from repro_tui.runs import words
from repro_tui.runs.catalog import read_entry
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.reader import RunReader
from repro_tui.verify import statistics
from repro_tui.verify.verdict import Decision

STAGES = ("resolve", "image", "artifacts", "seeds", "verify", "report")
AGAIN = "again"
_POLL_S = 0.2
_SAMPLE_S = 1.0
_PATIENCE_S = 60.0
"""For seeds that were told to stop, besides their own grace."""
_ENDS = frozenset({Verdict.REPRODUCED, Verdict.METRICS_DIFFER, Verdict.INCONCLUSIVE, Verdict.ENVIRONMENT_DRIFT})
"""Verdicts of a run that may have come to its end; only one that has leaves a record."""


@dataclass
class Seed:
    """One seed of a series; `name` is its folder's."""

    name: str
    seed: int
    run: RunDirectory
    kept: bool = False
    process: subprocess.Popen[bytes] | None = None
    gpus: tuple[str, ...] = ()
    reader: RunReader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = RunReader(self.run)

    @property
    def whole(self) -> bool:
        """Whether it came to its end, so that there is something to judge."""
        return self.reader.state.verdict in _ENDS and self.run.record.is_file()

    @property
    def again(self) -> bool:
        """Whether it is the repetition of the first one, which is no part of the sample."""
        return self.name.endswith(f".{AGAIN}")


def walk(context: Context) -> Decision:
    """Run the seeds, judge them together, and report."""
    return runner.walk(context, STAGES, {"seeds": run, "verify": series_verdict.verify})


def rule(context: Context) -> Verify:
    """Return the test that decides, with the seeds of this series."""
    seeds = list(context.options.seeds)
    return (context.loaded.manifest.verify or Verify(seeds=seeds)).model_copy(update={"seeds": seeds})


def planned(options: Options, run: RunDirectory) -> list[Seed]:
    """Return the seeds in their order, and the repetition of the first where it is asked for."""
    names = [(str(seed), seed) for seed in options.seeds]
    if options.twice:
        names.insert(1, (f"{options.seeds[0]}.{AGAIN}", options.seeds[0]))
    return [Seed(name, seed, RunDirectory(run.seeds / name)) for name, seed in names]


def is_whole(run: RunDirectory) -> bool:
    """Say whether a seed's run came to its end with something to judge."""
    return run.report.is_file() and run.record.is_file() and read_entry(run).status in {word.value for word in _ENDS}


def run(context: Context) -> StageResult:
    """Run every seed that has not been run, so many at once as there is room for; one that fails stops no other."""
    if rule(context).test != "every-seed":
        statistics.require()
    seeds = planned(context.options, context.run)
    series = _Series(context, seeds)
    try:
        with context.interrupt.shielded():
            series.run()
    finally:
        series_verdict.gather(context, seeds, series.most_at_once)
    kept = sum(each.kept for each in seeds)
    said = f", {kept} of an earlier attempt" if kept else ""
    return StageResult(detail=f"{len(seeds)} runs{said}, {series.most_at_once} at once")


class _Series:
    """The seeds' workers under watch."""

    def __init__(self, context: Context, seeds: list[Seed]) -> None:
        self._context = context
        self._waiting = list(seeds)
        self._count = len(seeds)
        self._running: list[Seed] = []
        self._done = 0
        self._peak = 0
        self._sampled_at = 0.0
        self._room: Room | None = None
        self._drifted = False
        self.most_at_once = 0
        self._tell = context.progress("seeds")
        context.run.metrics.unlink(missing_ok=True)
        context.cleanup.callback(self._abandon)

    def run(self) -> None:
        """Return when all have ended; raises CancelledError where they were told to."""
        self._keep()
        told_at: float | None = None
        while self._waiting or self._running:
            if self._context.interrupt.requested:
                self._waiting.clear()
                told_at = told_at or time.monotonic()
                self._context.run.request_cancel("a signal")  # which the seeds see; a request that is there stays
                if time.monotonic() - told_at > _PATIENCE_S:
                    self._abandon()
            elif not self._drifted:
                self._start()
            else:
                self._waiting.clear()
            time.sleep(_POLL_S)
            for each in list(self._running):
                self._look(each)
            self._sample()
        if self._context.interrupt.requested:
            raise CancelledError("the series was cancelled")

    def _keep(self) -> None:
        """Pass over what an earlier attempt finished; put aside what it did not."""
        for each in list(self._waiting):
            if is_whole(each.run):
                each.kept = True
                each.reader.read_all()
                self._waiting.remove(each)
                self._ended(each)
            elif each.run.path.exists():
                number = sum(1 for _ in each.run.path.parent.glob(f"{each.name}.before-*")) + 1
                each.run.path.rename(each.run.path.with_name(f"{each.name}.before-{number}"))

    def _start(self) -> None:
        if not self._waiting:
            return
        if self._room is None or (self._room.seeds == 1 and not self._running):
            found = room(self._context, self._peak)
            if self._room is None or found.seeds != self._room.seeds:
                at_once = min(found.seeds, len(self._waiting))
                self._context.notice("info", f"{at_once} seed{'s' if at_once > 1 else ''} at once: {found.reason}")
            self._room = found
        while self._waiting and len(self._running) < self._room.seeds:
            each = self._waiting.pop(0)
            taken = {other.gpus for other in self._running}
            each.gpus = share_of(self._context.gpus, self._room.gpus, taken)
            self._spawn(each)
            self._running.append(each)
        self.most_at_once = max(self.most_at_once, len(self._running))

    def _spawn(self, each: Seed) -> None:
        context = self._context
        context.run.create_child(each.name)
        each.run.manifest.write_bytes(context.run.manifest.read_bytes())
        dataclasses.replace(
            context.options, seed=each.seed, seeds=(), twice=False, jobs=None, gpus=each.gpus,
            engine=context.engine.name, fresh=context.options.fresh or each.again,
            title=f"{context.options.title}, seed {each.seed}{' again' if each.again else ''}",
        ).write(each.run.options)  # fmt: skip
        self._log(f"seed {each.name}: begins in {each.run.path}")
        each.reader.listener = lambda event: (
            self._log(f"seed {each.name}: {event.stage} {event.status.value} {event.detail}".rstrip())
            if isinstance(event, StageFinished) and event.status is not StageStatus.SKIPPED
            else None
        )
        each.process = worker.spawn(each.run)

    def _look(self, each: Seed) -> None:
        ended = each.process is None or each.process.poll() is not None
        while each.reader.poll():
            pass
        state = each.reader.state
        stage = state.current_stage
        if stage is not None and not ended:
            how = words.amount(stage)
            text = f"seed {each.name}: {stage.name}{f', {how}' if how else ''}"
            self._tell(self._done, self._count, text)
        if ended:
            each.reader.read_all()
            self._running.remove(each)
            self._ended(each)

    def _ended(self, each: Seed) -> None:
        state = each.reader.state
        self._done += 1
        self._peak = max(self._peak, state.peak_memory_bytes)
        verdict = state.verdict.value if state.verdict is not None else "died"
        if each.whole and self._context.options.twice:
            verdict = "finished"  # it is being recorded, so nothing is to be judged yet
        kept = " (kept from an earlier attempt)" if each.kept else ""
        self._log(f"seed {each.name}: {verdict}{kept} {state.summary}".rstrip())
        failed = not each.whole and not self._context.interrupt.requested
        message = f"seed {each.name}: {verdict}{kept}{f': {state.summary}' if failed and state.summary else ''}"
        self._context.notice("warning" if failed else "info", message)
        if state.verdict is Verdict.ENVIRONMENT_DRIFT and not self._context.options.allow_drift:
            self._drifted = True  # what is not as pinned for one seed is so for none
        if each.whole and not each.again:
            self.tell(_metric_lines(each, self._done))
        self._tell(self._done, self._count, "")

    def tell(self, lines: Iterator[str]) -> None:
        """Append to the series' own metrics what its seeds gave: readers plot it as they plot a run's."""
        with self._context.run.metrics.open("a", encoding="utf-8") as file:
            for line in lines:
                file.write(line)
                self._context.state.apply_line(line.rstrip("\n"))

    def _sample(self) -> None:
        """Tell what the seeds use together, once a second."""
        now = time.monotonic()
        samples = [each.reader.state.resources for each in self._running]
        there = [sample for sample in samples if sample is not None]
        if now - self._sampled_at < _SAMPLE_S or not there:
            return
        self._sampled_at = now
        self._context.emit(
            ResourceSample(
                at=time.time(),
                cpu_percent=round(sum(sample.cpu_percent for sample in there), 1),
                memory_bytes=sum(sample.memory_bytes for sample in there),
                processes=sum(sample.processes for sample in there),
                gpus=tuple(gpu for sample in there for gpu in sample.gpus),
            )
        )

    def _log(self, text: str) -> None:
        with self._context.log.open("a", encoding="utf-8") as file:
            file.write(f"{words.printable(text)}\n")

    def _abandon(self) -> None:
        """Leave no worker behind; what one has started is swept away by the next run."""
        for each in self._running:
            if each.process is not None and each.process.poll() is None:
                each.process.kill()
                each.process.wait()


def _metric_lines(each: Seed, number: int) -> Iterator[str]:
    stage = ""
    for key, metric in sorted(each.reader.state.metrics.items(), key=lambda item: (item[0].stage, item[0])):
        if not key.label and metric.value is not None:
            if key.stage != stage:
                stage = key.stage
                yield wire.encode("stage", stage=stage)
            yield wire.encode("metric", name=key.name, split=key.split, value=metric.value, step=number)
