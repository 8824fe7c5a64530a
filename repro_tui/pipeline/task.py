"""The task's container as the stages see it: what it tells while it runs, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from repro_tui.engines.base import ContainerSpec, Running
from repro_tui.errors import DriftError
from repro_tui.events import CheckResult, CheckStatus
from repro_tui.pipeline.context import Context
from repro_tui.pipeline.intake import Intake
from repro_tui.pipeline.supervise import Supervised
from repro_tui.runs.state import of_stage


class TaskRun:
    """The running task. `follow` until a phase or the end; everything it tells is looked at once, as it comes."""

    def __init__(
        self, context: Context, running: Running, spec: ContainerSpec, stage: str = "", text: str = ""
    ) -> None:
        """Follow a container; of several stages `stage` names its own, and `text` says which it is of how many."""
        self._context = context
        self._stage = stage
        self._text = text
        self._intake = Intake(context, stage)
        self._supervised = Supervised(
            context,
            running,
            spec,
            watched=[context.run.out / stage / context.run.metrics.name],
            silence_limit_s=context.loaded.manifest.resources.silence_limit_s,
        )
        self._state = context.state
        self._tell = context.progress("steps", stage="train")
        self._step = 0
        self._began = time.monotonic()
        self._runtime_seen = 0
        self.ended = False

    def follow(self, *, until: str | None = None) -> None:
        """Follow it to its end, or to the first line of the phase `until`; raises where it did not end well."""
        while True:
            ended = self._supervised.step()
            if not ended:
                self._intake.pump()
            elif not self.ended:
                self.ended = True
                self._intake.close()
            self._look()
            if until is not None and self._state.phase == until:
                return
            if ended:
                self._supervised.result(f"the stage {self._stage}" if self._stage else "the training")
                return

    @property
    def elapsed_s(self) -> float:
        """Seconds since its container was started."""
        return time.monotonic() - self._began

    @property
    def phase(self) -> str:
        """The phase that it told last."""
        return self._state.phase

    def steps_text(self) -> str:
        """Return how many steps it told of, in words."""
        return f"{self._state.step} steps" if self._state.step else "no step was told"

    def metrics_text(self) -> str:
        """Return how many metrics it told of, in words."""
        count = sum(key.stage == self._stage for key in self._state.metrics)
        return f"{count} {'metric' if count == 1 else 'metrics'}"

    def _look(self) -> None:
        if self._state.step != self._step:
            self._step = self._state.step
            self._tell(self._state.step, self._state.total_steps, self._text)
        if len(self._state.runtime) > self._runtime_seen:
            self._runtime_seen = len(self._state.runtime)
            self._check_runtime(self._state.runtime)

    def _check_runtime(self, facts: Mapping[str, Any]) -> None:
        """Compare what the libraries see while training with the pins, as far as the task tells it."""
        environment = self._context.loaded.manifest.environment
        pinned = {"threads": str(environment.threads), "cpu_capability": environment.cpu_capability}
        observed = {key: str(facts[key]).lower() for key in pinned if key in facts}
        differences = [
            f"{key} is {seen}, pinned {pinned[key]}" for key, seen in observed.items() if seen != pinned[key]
        ]
        if not observed:
            return
        self._context.record(
            CheckResult(
                at=time.time(),
                name=of_stage(self._stage, "runtime"),
                component="environment",
                status=CheckStatus.DIFFERS if differences else CheckStatus.MATCH,
                expected=_words({key: pinned[key] for key in observed}),
                observed=_words(observed),
                detail="; ".join(differences),
            )
        )
        if differences and not self._context.options.allow_drift:
            self._supervised.stop(
                DriftError(
                    f"the training does not run as pinned: {'; '.join(differences)}",
                    component="environment",
                    hint="do not set threads or the CPU capability in the task; --allow-drift runs it all the same",
                )
            )


def _words(values: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
