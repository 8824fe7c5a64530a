"""A running Docker container: its end, its log, and who owns what it wrote."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro_tui.engines import docker_log, guard, outputs, processes
from repro_tui.engines.base import ContainerSpec, EndReason, Mount, Outcome, Usage
from repro_tui.engines.docker_presence import Presence
from repro_tui.engines.ending import Ending
from repro_tui.engines.sandbox import GID, UID

if TYPE_CHECKING:
    from docker import DockerClient

    from repro_tui.engines.docker_volumes import Volumes

_GONE_AFTER_S = 60.0
"""How long a daemon may be silent before the container counts as lost."""
_RETRY_S = 0.5
_LEAVING_S = 1.5
"""How long after its containers a daemon that ends may still be there."""
_ENDINGS = (137, 143)
"""What SIGKILL and SIGTERM leave, which is how a daemon ends its containers."""


@dataclass(frozen=True, slots=True)
class OutputOwner:
    """Lets the container's user write the output folders, and gives what it wrote back to the caller."""

    user: str
    """uid:gid of the container's processes."""
    mounts: tuple[Mount, ...]
    """What is handed over for the time of the run."""

    @classmethod
    def of(cls, spec: ContainerSpec, *, rootless: bool) -> OutputOwner:
        """Choose the user: the caller, 1000 where that is root; uid 0 where that is the caller's own (rootless)."""
        if rootless:
            return cls("0:0", ())
        if os.geteuid() != 0:
            return cls(f"{os.geteuid()}:{os.getegid()}", ())
        return cls(f"{UID}:{GID}", tuple(spec.mounts))

    @classmethod
    def there(cls, *, rootless: bool) -> OutputOwner:
        """Choose the user on another machine, where folders are volumes and no uid of this one means anything."""
        return cls("0:0" if rootless else f"{UID}:{GID}", ())

    def give(self) -> None:
        """Make the folders, with what is in them, the container's."""
        outputs.give(self.mounts, UID, GID)

    def take_back(self) -> None:
        """Make everything the caller's again."""
        outputs.give(self.mounts, os.geteuid(), os.getegid())


class DockerRunning:
    """A container from its start to its removal; two threads of ours follow its log and its state."""

    def __init__(
        self,
        client: DockerClient,
        streams: DockerClient,
        container: str,
        spec: ContainerSpec,
        owner: OutputOwner,
        *,
        volumes: Volumes | None = None,
    ) -> None:
        """Attach and start; `streams` is a client of its own without time limits, closed at the end.

        `volumes` are where the container's files are on another machine.
        """
        self._client = client
        self._streams = streams
        self._id = container
        self._spec = spec
        self._owner = owner
        self._volumes = volumes
        self._ending = Ending()
        self._peak_bytes = 0
        self._pid: int | None = None
        self._log = docker_log.Log(spec.log, streams, container, lambda: bool(self._state()["Running"]))
        self._presence: Presence | None = None
        try:
            self._log.attach()
            self._presence = Presence(streams, container)
            client.api.start(container)
        except BaseException:
            self._log.close()
            if self._presence is not None:
                self._presence.close()
            streams.close()
            raise
        self._started = time.monotonic()
        self._log.start()
        if volumes is not None:
            volumes.follow()
        self._timers: list[threading.Timer] = []
        if spec.limits.time_s is not None:
            text = f"still running after {spec.limits.time_s:g} s"
            self._later(spec.limits.time_s, lambda: self._end(EndReason.TIME_LIMIT, text, "SIGKILL"))
        threading.Thread(target=self._watch, name=f"watch {spec.name}", daemon=True).start()

    def wait(self, timeout_s: float | None = None) -> Outcome | None:
        """Return the outcome, None when `timeout_s` passed first."""
        return self._ending.wait(timeout_s)

    def stop(self, grace_s: float) -> None:
        """Send SIGTERM to the main process (through the init of Docker) and SIGKILL after `grace_s`."""
        first = self._end(EndReason.STOPPED, "", "SIGTERM" if grace_s > 0 else "SIGKILL")
        if first and grace_s > 0:
            self._later(grace_s, lambda: self._signal("SIGKILL"))
        elif not first and grace_s <= 0 and not self._ending.told:
            self._signal("SIGKILL")

    def usage(self) -> Usage | None:
        """Return what it uses: from /proc where its processes are seen here, else from the daemon (slower)."""
        if self._ending.told:
            return None
        found: Usage | None = None
        with contextlib.suppress(Exception):
            pid = self._visible_pid()
            found = processes.usage(pid) if pid is not None else self._stats()
        if found is not None:
            self._peak_bytes = max(self._peak_bytes, found.memory_bytes)
        return found

    def _visible_pid(self) -> int | None:
        if self._pid is None:
            pid = int(self._state()["Pid"])
            try:
                seen = self._id in Path(f"/proc/{pid}/cgroup").read_text()
            except OSError:
                seen = False
            self._pid = pid if seen else 0
        return self._pid or None

    def _stats(self) -> Usage | None:
        """Ask the daemon; one look, not the two of a second apart from which it would reckon a percentage."""
        return _stats(self._client.api.stats(self._id, stream=False, one_shot=True))

    def _end(self, reason: EndReason, detail: str, signal: str) -> bool:
        if not self._ending.claim(reason, detail):
            return False
        self._later(0, lambda: self._signal(signal))
        return True

    def _later(self, delay_s: float, action: Callable[[], object]) -> None:
        timer = threading.Timer(delay_s, action)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _signal(self, name: str) -> None:
        with contextlib.suppress(Exception):  # ended meanwhile; a daemon that is gone shows in _watch
            self._client.api.kill(self._id, signal=name)

    def _state(self) -> dict[str, Any]:
        """Return the daemon's word; raises NotFound when removed, an error of the SDK or requests without answer."""
        state: dict[str, Any] = self._client.api.inspect_container(self._id)["State"]
        return state

    def _watch(self) -> None:
        try:
            outcome = self._follow()
        except Exception as error:  # whoever waits is told, whatever it was
            outcome = Outcome(EndReason.LOST, None, time.monotonic() - self._started, self._peak_bytes, repr(error))
        for timer in self._timers:
            timer.cancel()
        if self._volumes is not None:
            outcome = self._fetched(self._volumes, outcome)
        with contextlib.suppress(OSError):
            self._owner.take_back()
            outputs.disarm(self._spec.mounts)
        with contextlib.suppress(Exception):
            self._client.api.remove_container(self._id, force=True, v=True)
        if self._volumes is not None:
            self._volumes.remove()
        with contextlib.suppress(Exception):
            guard.watch(f"-{self._spec.name}")
        if self._presence is not None:
            self._presence.close()
        self._streams.close()
        self._ending.tell(outcome)

    @staticmethod
    def _fetched(volumes: Volumes, outcome: Outcome) -> Outcome:
        """Fetch the outputs before the end is told: without them it is none that could be believed."""
        try:
            left_out = volumes.fetch()
        except Exception as error:
            if outcome.reason is EndReason.LOST:
                return outcome
            return replace(outcome, reason=EndReason.LOST, exit_code=None, detail=f"{error}")
        if not left_out:
            return outcome
        words = f"not fetched, as they lead out of the folder or are no files: {', '.join(left_out[:5])}"
        return replace(outcome, detail="; ".join(filter(None, (outcome.detail, words))))

    def _follow(self) -> Outcome:
        from docker.errors import NotFound

        state: dict[str, Any] | None = None
        silent_since: float | None = None
        detail = ""
        while state is None and not detail:
            try:
                self._streams.api.wait(self._id)  # an answer is a hint only: inspect is what counts
                state = self._state()
                silent_since = None
                if state["Running"]:
                    state = None
                    time.sleep(_RETRY_S)
            except NotFound:
                detail = "the container was removed behind our back"
            except Exception as error:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > _GONE_AFTER_S:
                    detail = f"the daemon has not answered for {_GONE_AFTER_S:g} s: {error}"
                time.sleep(_RETRY_S)
        elapsed_s = time.monotonic() - self._started
        self._log.finish(complete=state is not None)
        if state is None:
            return Outcome(EndReason.LOST, None, elapsed_s, self._peak_bytes, detail)
        return self._judge(state, elapsed_s)

    def _judge(self, state: dict[str, Any], elapsed_s: float) -> Outcome:
        code = int(state["ExitCode"])
        detail = str(state.get("Error") or "")
        peak = self._peak_bytes
        if self._ending.cause is not None:
            reason, detail = self._ending.cause
        elif state.get("OOMKilled") and code:
            reason = EndReason.OUT_OF_MEMORY
            detail = detail or "the kernel killed processes at the memory limit"
            peak = max(peak, self._spec.limits.memory_bytes or 0)
        elif state.get("Dead"):
            return Outcome(EndReason.LOST, None, elapsed_s, peak, "the container was removed behind our back")
        elif code in _ENDINGS and self._presence is not None and self._presence.ended(_LEAVING_S):
            return Outcome(EndReason.LOST, None, elapsed_s, peak, "the daemon went away and took the container with it")
        elif 128 < code <= 192:
            reason = EndReason.SIGNALLED
        else:
            reason = EndReason.EXITED
        return Outcome(reason, code, elapsed_s, peak, detail)


def _stats(answer: dict[str, Any]) -> Usage | None:
    memory = answer.get("memory_stats", {})
    cpu = answer.get("cpu_stats", {}).get("cpu_usage", {})
    if "usage" not in memory:
        return None
    stats = memory.get("stats", {})
    cache = stats.get("total_inactive_file", stats.get("inactive_file", 0))
    return Usage(
        cpu.get("total_usage", 0) / 1e9, memory["usage"] - cache, answer.get("pids_stats", {}).get("current", 0)
    )
