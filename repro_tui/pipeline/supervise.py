"""One container under watch: cancel, silence and resources while it runs, and words for how it ended."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from repro_tui.engines.base import ContainerSpec, EndReason, Outcome, Running
from repro_tui.engines.gpus.lost import failure
from repro_tui.engines.gpus.samples import Watch
from repro_tui.errors import CancelledError, EngineError, ReproError, RunFailedError, StoreFullError
from repro_tui.events import ResourceSample
from repro_tui.pipeline.context import Context

_POLL_S = 0.1
_SAMPLE_S = 1.0
_ABANDON_S = 30.0
_TAIL_BYTES = 16 << 10
_TAIL_LINES = 12
_FULL_BYTES = 1 << 20


class Supervised:
    """A running container; `step` until it has ended, then `result`. To be used under `interrupt.shielded()`.

    `watched` are the files whose growth shows that the container lives; `silence_limit_s` None is no limit.
    """

    def __init__(
        self,
        context: Context,
        running: Running,
        spec: ContainerSpec,
        *,
        watched: Sequence[Path] = (),
        silence_limit_s: float | None = None,
    ) -> None:
        self._context = context
        self._running = running
        self._spec = spec
        self._watched = (spec.log, *watched)
        self._silence_limit_s = silence_limit_s
        self._why: ReproError | None = None
        self._grace_s: float | None = None
        self._sampled_at = time.monotonic()
        self._cpu_s: float | None = None
        self._gpus = Watch(context.gpu_devices) if spec.gpus is not None and context.gpu_devices else None
        self._seen = self._sizes()
        self._alive_at = self._sampled_at
        self.outcome: Outcome | None = None
        context.cleanup.callback(self.abandon)
        if self._gpus is not None:
            context.cleanup.callback(self._gpus.close)

    def step(self) -> bool:
        """Wait a moment, look once at everything, and say whether the container has ended."""
        if self.outcome is None:
            self.outcome = self._running.wait(_POLL_S)
        if self.outcome is None:
            now = time.monotonic()
            if self._context.interrupt.requested:
                self.stop(CancelledError("the run was cancelled"), grace_s=self._context.interrupt.grace_s)
            if now - self._sampled_at >= _SAMPLE_S:
                self._sample(now)
                self._listen(now)
                lost = self._gpu_failure("the container", "")
                if lost is not None:
                    self.stop(lost)
        elif self._gpus is not None:
            self._gpus.close()
        return self.outcome is not None

    def stop(self, why: ReproError, *, grace_s: float = 2.0) -> None:
        """Stop the container; `result` will raise `why`. A later call with less grace is heeded, the reason stays."""
        if self._grace_s is None or grace_s < self._grace_s:
            self._grace_s = grace_s
            self._running.stop(grace_s)
        self._why = self._why or why

    def abandon(self) -> None:
        """Leave no container behind, whatever went wrong before its end; does nothing after it."""
        if self.outcome is None:
            self._running.stop(0.0)
            self.outcome = self._running.wait(_ABANDON_S)

    def result(self, what: str) -> Outcome:
        """Return the outcome of a container that ended well.

        Raises why it was stopped, EngineError where the engine lost it, RunFailedError otherwise; `what` names it.
        """
        outcome = self.outcome
        if outcome is None:
            raise EngineError(f"{what} has not ended")
        if self._why is not None:
            raise self._why
        lost = self._gpu_failure(what, "")
        if lost is not None:
            raise lost
        if not outcome.ok:
            raise self._failure(what, outcome)
        return outcome

    def _failure(self, what: str, outcome: Outcome) -> ReproError:
        log = self._spec.log
        limits = self._spec.limits
        match outcome.reason:
            case EndReason.LOST:
                return EngineError(
                    f"the engine lost {what}: {outcome.detail or 'no reason given'}",
                    where=str(log),
                    hint="nothing is said about the result; run it again, `repro-tui doctor` looks at the engines",
                )
            case EndReason.TIME_LIMIT:
                return RunFailedError(
                    f"{what} reached its time limit of {limits.time_s:g} s"
                    if limits.time_s
                    else f"{what} ran too long",
                    where=str(log),
                    hint="raise resources.time_limit_s in the manifest, or use a faster machine",
                )
            case EndReason.OUT_OF_MEMORY:
                limit = f" (limit {limits.memory_bytes / (1 << 30):.1f} GiB)" if limits.memory_bytes else ""
                return RunFailedError(
                    f"{what} ran out of memory{limit}",
                    where=str(log),
                    hint="raise resources.memory in the manifest, or use a machine with more memory",
                )
            case EndReason.STOPPED:
                return EngineError(f"{what} was stopped from outside", where=str(log), hint="run it again")
            case _:
                return self._crash(what, outcome)

    def _crash(self, what: str, outcome: Outcome) -> ReproError:
        log = self._spec.log
        stat = os.statvfs(log.parent)
        if stat.f_bavail * stat.f_frsize < _FULL_BYTES:
            return StoreFullError(
                f"{what} failed and no space is left on the device of the run directory",
                where=str(log.parent),
                hint="free some space and run it again",
            )
        lines = last_lines(log)
        of_gpu = self._gpu_failure(what, log_end(log)) if self._spec.gpus is not None else None
        if lines:
            self._context.notice("error", f"the last lines of {what}'s log:\n" + "\n".join(f"  {s}" for s in lines))
        if of_gpu is not None:
            return of_gpu
        how = f"was killed by signal {(outcome.exit_code or 128) - 128}"
        if outcome.reason is EndReason.EXITED:
            how = f"ended with exit code {outcome.exit_code}"
        said = f": {lines[-1].strip()}" if lines else ""
        return RunFailedError(f"{what} {how}{said}", where=str(log), hint="the log has the whole story")

    def _sample(self, now: float) -> None:
        elapsed_s = now - self._sampled_at
        self._sampled_at = now
        usage = self._running.usage()
        if usage is None:
            return
        if self._cpu_s is not None:
            self._context.emit(
                ResourceSample(
                    at=time.time(),
                    cpu_percent=round(max(0.0, 100 * (usage.cpu_s - self._cpu_s) / elapsed_s), 1),
                    memory_bytes=usage.memory_bytes,
                    processes=usage.processes,
                    gpus=self._gpus.latest if self._gpus is not None else (),
                )
            )
        self._cpu_s = usage.cpu_s

    def _gpu_failure(self, what: str, log_text: str) -> ReproError | None:
        said = self._gpus.lost if self._gpus is not None else ""
        return failure(what, log_text, str(self._spec.log), said)

    def _listen(self, now: float) -> None:
        sizes = self._sizes()
        if sizes != self._seen:
            self._seen, self._alive_at = sizes, now
        elif self._silence_limit_s is not None and now - self._alive_at > self._silence_limit_s:
            self.stop(
                RunFailedError(
                    f"hung: nothing was written to the log or the metrics for {self._silence_limit_s:g} s",
                    where=str(self._spec.log),
                    hint="raise resources.silence_limit_s in the manifest where such a silence is normal",
                )
            )

    def _sizes(self) -> tuple[int, ...]:
        return tuple(_size(path) for path in self._watched)


def run_to_end(context: Context, spec: ContainerSpec) -> Supervised:
    """Start a container in the run's image and return it once it has ended; raises CancelledError."""
    with context.interrupt.shielded():
        supervised = Supervised(context, context.engine.start(context.image, spec), spec)
        while not supervised.step():
            pass
    return supervised


def log_end(log: Path) -> str:
    """Return the end of a log, a few screens at most; empty where it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def last_lines(log: Path) -> list[str]:
    """Return the last few lines of a log, printable."""
    lines = [line.rpartition("\r")[2] for line in log_end(log).splitlines() if line.strip()]
    return ["".join(c if c.isprintable() or c == "\t" else "?" for c in line)[:500] for line in lines[-_TAIL_LINES:]]


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1
