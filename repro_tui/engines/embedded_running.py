"""A running container of the embedded engine: watched, ended, judged."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
import time
from pathlib import Path

from repro_tui.engines import cgroups, outputs, processes, sampling
from repro_tui.engines.base import ContainerSpec, EndReason, Limits, Outcome, Usage
from repro_tui.engines.ending import Ending


class EmbeddedRunning:
    """A container that one thread of ours watches until it ends."""

    def __init__(
        self,
        spec: ContainerSpec,
        *,
        monitor: subprocess.Popen[bytes],
        status: int,
        first: processes.Process,
        main: processes.Process | None,
        group: cgroups.Group | None,
        log_start: int,
    ) -> None:
        self._spec = spec
        self._monitor = monitor
        self._status = status
        self._first = first
        self._main = main
        self._group = group
        self._log_start = log_start
        self._started = time.monotonic()
        held = group.enforced if group is not None else frozenset[str]()
        self._sampler = sampling.Sampler(first.pid, spec.limits, held)
        self._host_kills = sampling.host_out_of_memory_kills()
        self._ending = Ending()
        threading.Thread(target=self._watch, name=f"watch {spec.name}", daemon=True).start()

    def wait(self, timeout_s: float | None = None) -> Outcome | None:
        """Return the outcome, None when `timeout_s` passed first."""
        return self._ending.wait(timeout_s)

    def stop(self, grace_s: float) -> None:
        """Send SIGTERM to the main process now and SIGKILL to all after `grace_s`."""
        self._ending.stop(grace_s, self._terminate, self._kill)

    def usage(self) -> Usage | None:
        """Return what its processes use, None after the end."""
        return None if self._ending.told else self._sampler.usage()

    def _terminate(self) -> None:
        if self._main is not None:
            self._main.signal(signal.SIGTERM)

    def _kill(self) -> None:
        self._first.signal(signal.SIGKILL)

    def _end(self, reason: EndReason, detail: str) -> None:
        """Record why it is ended, and kill it, unless it ended before or is being ended."""
        if self._ending.claim(reason, detail):
            self._kill()

    def _watch(self) -> None:
        try:
            outcome = self._follow()
        except Exception as error:  # whoever waits is told, whatever it was
            elapsed_s = time.monotonic() - self._started
            outcome = Outcome(EndReason.LOST, None, elapsed_s, self._sampler.peak_bytes, repr(error))
        if self._group is not None:
            self._group.remove()
        outputs.disarm(self._spec.mounts)
        self._ending.tell(outcome)

    def _follow(self) -> Outcome:
        # The monitor holds the other end of the status pipe until it exits, so its end is the container's end.
        poller = select.poll()
        poller.register(self._status, select.POLLIN)
        limits = self._spec.limits
        status = b""
        while True:
            left_s = None if limits.time_s is None else self._started + limits.time_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                self._end(EndReason.TIME_LIMIT, f"still running after {limits.time_s:g} s")
                limits = Limits()
            pause_s = sampling.SAMPLE_S if left_s is None else min(sampling.SAMPLE_S, max(left_s, 0.001))
            if poller.poll(1000 * pause_s):
                data = os.read(self._status, 4096)
                if not data:
                    break
                status += data
            elif (excess := self._sampler.excess()) is not None:
                self._end(*excess)
        os.close(self._status)
        returned = self._monitor.wait()
        self._wait_until_empty()
        return self._judge(_exit_code(status), returned)

    def _wait_until_empty(self) -> None:
        """Wait until the namespace's first process is gone: the kernel lets it go only when all others are dead."""
        for pause_s in (0.0005, 0.001, 0.002, 0.005, *[0.01] * 500):
            self._first.signal(signal.SIGKILL)
            if not self._first.alive():
                return
            time.sleep(pause_s)

    def _judge(self, exit_code: int | None, returned: int) -> Outcome:
        elapsed_s = time.monotonic() - self._started
        kills = self._group.out_of_memory_kills() if self._group is not None else 0
        detail = ""
        if exit_code is None:
            exit_code, detail = self._never_ran()
        if self._ending.cause is not None:
            reason, detail = self._ending.cause
            exit_code = 137 if exit_code is None else exit_code
        elif exit_code is None:
            reason = EndReason.LOST
            detail = detail or f"bubblewrap ended with {returned} without saying how the container did"
        elif kills and exit_code:
            reason = EndReason.OUT_OF_MEMORY
            detail = f"the kernel killed {kills} of its processes at the memory limit"
        elif exit_code == 137 and sampling.host_out_of_memory_kills() > self._host_kills:
            reason = EndReason.OUT_OF_MEMORY
            detail = "the host ran out of memory and its kernel killed processes"
        elif 128 < exit_code <= 128 + signal.NSIG:
            reason = EndReason.SIGNALLED
            detail = sampling.signal_name(exit_code - 128)
        else:
            reason = EndReason.EXITED
        peak = self._sampler.peak_bytes
        if reason is EndReason.OUT_OF_MEMORY and self._spec.limits.memory_bytes is not None:
            peak = max(peak, self._spec.limits.memory_bytes)
        return Outcome(reason, exit_code, elapsed_s, peak, detail)

    def _never_ran(self) -> tuple[int | None, str]:
        """Tell from bubblewrap's last words, in the log, why the command was never started."""
        words = last_words(self._spec.log, self._log_start)
        if words.startswith("execvp "):
            return 126 if "Permission denied" in words else 127, words
        return None, words


def _exit_code(status: bytes) -> int | None:
    for line in status.splitlines():
        with contextlib.suppress(ValueError):
            code = json.loads(line).get("exit-code")
            if isinstance(code, int):
                return code
    return None


def last_words(log: Path, start: int) -> str:
    """Return what bubblewrap itself wrote last into the log, without its prefix."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - 4096))
        for line in reversed(file.read().decode(errors="replace").splitlines()):
            if line.startswith("bwrap: "):
                return line.removeprefix("bwrap: ")
    return ""
