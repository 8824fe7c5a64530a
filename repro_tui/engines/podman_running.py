"""A running Podman container: watched, ended, judged.

There is no daemon to ask. Podman leaves a small monitor (conmon) beside each container, which ends after it; its end is
the container's, and only then Podman is asked how it was.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from repro_tui.engines import cgroups, guard, outputs, processes, sampling
from repro_tui.engines.base import ContainerSpec, EndReason, Outcome, Usage
from repro_tui.engines.docker_running import OutputOwner
from repro_tui.engines.ending import Ending
from repro_tui.engines.podman_command import Podman, Refusal

_SETTLED_S = 10.0
"""How long Podman may take to notice that a container has ended."""
_REMOVED = "the container was removed behind our back"
_BY_OTHERS = {128 + signal.SIGTERM, 128 + signal.SIGKILL}
_THEIRS_S = 0.5
"""How long somebody who removes a container may take between ending and removing it."""
_NEVER_RAN = b": failed to exec pid1: "
"""Of catatonit, which ends with 1 where the command cannot be started."""


class PodmanRunning:
    """A container that one thread of ours watches until it ends."""

    def __init__(
        self,
        podman: Podman,
        spec: ContainerSpec,
        owner: OutputOwner,
        *,
        monitor: int,
        first: processes.Process | None,
        held: Collection[str],
        log_start: int,
    ) -> None:
        """`monitor` is conmon's process id; `first` the container's first process, None where it is gone already."""
        self._podman = podman
        self._spec = spec
        self._owner = owner
        self._monitor = _open(monitor)
        self._first = first
        self._first_end = _open(first.pid) if first is not None else None
        self._group = cgroups.memory_of(first.pid) if first is not None and "memory" in held else None
        self._kills = 0
        self._log_start = log_start
        self._sampler = sampling.Sampler(first.pid if first is not None else 0, spec.limits, held)
        self._host_kills = sampling.host_out_of_memory_kills()
        self._started = time.monotonic()
        self._ending = Ending()
        threading.Thread(target=self._watch, name=f"watch {spec.name}", daemon=True).start()

    def wait(self, timeout_s: float | None = None) -> Outcome | None:
        """Return the outcome, None when `timeout_s` passed first."""
        return self._ending.wait(timeout_s)

    def stop(self, grace_s: float) -> None:
        """Send SIGTERM to the main process now and SIGKILL to all after `grace_s`."""
        self._ending.stop(grace_s, lambda: self._signal(signal.SIGTERM), lambda: self._signal(signal.SIGKILL))

    def usage(self) -> Usage | None:
        """Return what its processes use, None after the end."""
        return None if self._ending.told or self._first is None else self._sampler.usage()

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the first process, which hands it on; the kernel ends all others with it."""
        if self._first is not None:
            self._first.signal(number)

    def _end(self, reason: EndReason, detail: str) -> None:
        """Record why it is ended, and kill it, unless it ended before or is being ended."""
        if self._ending.claim(reason, detail):
            self._signal(signal.SIGKILL)

    def _watch(self) -> None:
        try:
            outcome = self._follow()
        except Exception as error:  # whoever waits is told, whatever it was
            outcome = self._lost(repr(error))
        with contextlib.suppress(OSError):
            self._owner.take_back()
            outputs.disarm(self._spec.mounts)
        self._ending.tell(outcome)

    def _follow(self) -> Outcome:
        limits = self._spec.limits
        deadline = None if limits.time_s is None else self._started + limits.time_s
        while not self._over(deadline):
            if deadline is not None and time.monotonic() >= deadline:
                self._end(EndReason.TIME_LIMIT, f"still running after {limits.time_s:g} s")
                deadline = None
            elif self._first is not None and (excess := self._sampler.excess()) is not None:
                self._end(*excess)
        elapsed_s = time.monotonic() - self._started
        orphaned = self._first is not None and self._first.alive()
        if orphaned:
            self._kill_all()
        outcome = self._lost("conmon, Podman's monitor of the container, was killed") if orphaned else None
        return self._removed(outcome or self._judge(elapsed_s))

    def _over(self, deadline: float | None) -> bool:
        """Wait for the monitor's end until the next look is due; say whether it has come.

        The first process ends a moment earlier, and its control group, with the counter, goes between the two.
        """
        wait_s = sampling.SAMPLE_S if deadline is None else min(sampling.SAMPLE_S, deadline - time.monotonic())
        ended = _ends(wait_s, self._first_end, self._monitor)
        if self._first_end is not None and self._first_end in ended:
            self._kills = self._group.out_of_memory_kills() if self._group is not None else 0
            os.close(self._first_end)
            self._first_end = None
        if self._monitor is not None and self._monitor not in ended:
            return False
        for descriptor in (self._first_end, self._monitor):
            if descriptor is not None:
                os.close(descriptor)
        return True

    def _kill_all(self) -> None:
        deadline = time.monotonic() + _SETTLED_S
        while self._first is not None and self._first.alive() and time.monotonic() < deadline:
            self._signal(signal.SIGKILL)
            time.sleep(0.01)

    def _lost(self, detail: str) -> Outcome:
        return Outcome(EndReason.LOST, None, time.monotonic() - self._started, self._sampler.peak_bytes, detail)

    def _state(self) -> dict[str, Any]:
        """Return how Podman says it ended; raises Refusal."""
        deadline = time.monotonic() + _SETTLED_S
        while True:
            (found,) = self._podman.ask("container", "inspect", self._spec.name)
            state: dict[str, Any] = found["State"]
            if not state["Running"] or time.monotonic() > deadline:
                return state
            time.sleep(0.1)

    def _judge(self, elapsed_s: float) -> Outcome:
        try:
            state = self._state()
        except Refusal as refusal:
            return self._lost(_REMOVED if refusal.no_such else f"Podman does not say how it ended: {refusal}")
        code = int(state["ExitCode"])
        if state["Running"] or code < 0 or state.get("Status") == "removing":
            return self._lost(_REMOVED if state.get("Status") == "removing" else "Podman knows no exit code")
        peak, detail = self._sampler.peak_bytes, ""
        if code == 1 and self._ending.cause is None:
            code, detail = self._never_ran() or (1, "")
        if self._ending.cause is not None:
            reason, detail = self._ending.cause
        elif code and (self._kills or state.get("OOMKilled")):
            reason = EndReason.OUT_OF_MEMORY
            detail = f"the kernel killed {self._kills or 'some'} of its processes at the memory limit"
        elif code == 137 and sampling.host_out_of_memory_kills() > self._host_kills:
            reason, detail = EndReason.OUT_OF_MEMORY, "the host ran out of memory and its kernel killed processes"
        elif 128 < code <= 128 + signal.NSIG:
            reason, detail = EndReason.SIGNALLED, sampling.signal_name(code - 128)
        else:
            reason = EndReason.EXITED
        if reason is EndReason.OUT_OF_MEMORY:
            peak = max(peak, self._spec.limits.memory_bytes or 0)
        return Outcome(reason, code, elapsed_s, peak, detail)

    def _removed(self, outcome: Outcome) -> Outcome:
        """Remove the container. One that is gone already was killed by who removed it, not by itself."""
        unexplained = outcome.reason is EndReason.SIGNALLED and self._ending.cause is None
        if unexplained and outcome.exit_code in _BY_OTHERS:
            time.sleep(_THEIRS_S)
        for pause_s in (0.1, 0.5, 0.0):
            try:
                here = self._podman.remove([self._spec.name])
            except Refusal:  # without its monitor Podman needs a second look to see that it has ended
                time.sleep(pause_s)
                continue
            guard.watch(f"-podman/{self._spec.name}")
            return outcome if here or not unexplained else self._lost(_REMOVED)
        return outcome  # `sweep` finds it

    def _never_ran(self) -> tuple[int, str] | None:
        """Tell from the init program's last words that the command could not be started, and name it in the log."""
        with contextlib.suppress(OSError), Path(self._spec.log).open("r+b") as file:
            file.seek(max(self._log_start, file.seek(0, os.SEEK_END) - 4096))
            words = file.read().rstrip(b"\n").rpartition(b"\n")[2]
            if words.startswith(b"ERROR (catatonit:") and _NEVER_RAN in words:
                why = words.rpartition(_NEVER_RAN)[2].decode(errors="replace")
                text = f"{self._spec.argv[0]}: {why}"
                file.write(f"{text}\n".encode())
                return 126 if "ermission" in why else 127, text
        return None


def _open(pid: int) -> int | None:
    """Return a descriptor of a process, None where it is gone."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _ends(wait_s: float, *descriptors: int | None) -> set[int]:
    """Wait for the end of one of the processes; return the descriptors of those that have ended."""
    poller = select.poll()
    for descriptor in descriptors:
        if descriptor is not None:
            poller.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poller.poll(max(1.0, 1000 * wait_s))}
