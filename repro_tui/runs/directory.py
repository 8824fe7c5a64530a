"""The run directory: everything a run leaves behind, at fixed places (docs/run-directory.md)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from repro_tui.errors import InfrastructureError, StoreFullError

_LOCK_PATIENCE_S = 2.0
_START_PATIENCE_S = 30.0


class Liveness(StrEnum):
    """Whether somebody is at work in a run directory."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    """No worker: it finished, or it died; the journal's last event says which."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """One run's folder. The worker writes it, everything else reads it."""

    path: Path

    @classmethod
    def create(cls, root: Path, experiment: str) -> RunDirectory:
        """Make a new one under `root`, named `<experiment>-<UTC time>-<4 hex digits>`, mode 0755 whatever the umask.

        Raises InfrastructureError where that cannot be, StoreFullError where no space is left.
        """
        import secrets  # those who only read runs do without it

        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        try:
            root.mkdir(parents=True, exist_ok=True)
            while True:
                run = cls(root / f"{experiment}-{stamp}-{secrets.token_hex(2)}")
                with suppress(FileExistsError):
                    run.path.mkdir()
                    break
            run._furnish()
        except OSError as error:
            raise _refused(error, root) from None
        return run

    def _furnish(self) -> None:
        for folder in (self.path, self.out, self.job, self.code, self.logs):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)

    def create_child(self, name: str) -> RunDirectory:
        """Make the run of one seed below this series; raises as `create`."""
        child = RunDirectory(self.seeds / name)
        try:
            self.seeds.mkdir(exist_ok=True)
            self.seeds.chmod(0o755)
            child.path.mkdir()
            child._furnish()
        except OSError as error:
            raise _refused(error, child.path) from None
        return child

    @property
    def id(self) -> str:
        """Name of the folder; of one seed of a series with that of the series before it, since ids are unique."""
        series = self.series
        return self.path.name if series is None else f"{series.path.name}-seed{self.path.name}"

    @property
    def series(self) -> RunDirectory | None:
        """The series that this is one seed of; None for a run by itself."""
        folder = self.path.parent
        known = ("options.json", "events.jsonl")  # out of a bundle it has no options
        if folder.name == "seeds" and any((folder.parent / name).is_file() for name in known):
            return RunDirectory(folder.parent)
        return None

    @property
    def seeds(self) -> Path:
        """Folder of a series' runs, one a seed."""
        return self.path / "seeds"

    @property
    def manifest(self) -> Path:
        """The manifest as it was when the run began."""
        return self.path / "manifest.toml"

    @property
    def options(self) -> Path:
        """What the command line said."""
        return self.path / "options.json"

    @property
    def events(self) -> Path:
        """Events of the worker, one JSON object a line (repro_tui.events)."""
        return self.path / "events.jsonl"

    @property
    def metrics(self) -> Path:
        """What the task said, one JSON object a line (repro_tui.wire); the container writes it under /out."""
        return self.out / "metrics.jsonl"

    @property
    def environment(self) -> Path:
        """What the probe found (docs/environment-hash.md)."""
        return self.path / "environment.json"

    @property
    def files(self) -> Path:
        """Every file that the probe saw, one JSON object a line."""
        return self.path / "files.jsonl"

    @property
    def out(self) -> Path:
        """What the container sees as /out, its one writable folder."""
        return self.path / "out"

    @property
    def job(self) -> Path:
        """What the container sees as /job."""
        return self.path / "job"

    @property
    def code(self) -> Path:
        """What the container sees as /code when a built-in task runs."""
        return self.path / "code"

    @property
    def logs(self) -> Path:
        """Folder of raw logs."""
        return self.path / "logs"

    def log(self, stage: str) -> Path:
        """Return where the raw log of a stage is."""
        return self.logs / f"{stage}.log"

    @property
    def report(self) -> Path:
        """The report, for programs (docs/report.md)."""
        return self.path / "report.json"

    @property
    def report_markdown(self) -> Path:
        """The same report, for people."""
        return self.path / "report.md"

    @property
    def record(self) -> Path:
        """What a manifest's author pins: the record of this run."""
        return self.path / "record.json"

    @property
    def worker_lock(self) -> Path:
        """Locked (flock) for as long as the worker lives; holds its process id."""
        return self.path / "worker.lock"

    @property
    def cancel_file(self) -> Path:
        """There when somebody asked the run to stop."""
        return self.path / "cancel"

    @property
    def cancel_now_file(self) -> Path:
        """There when the run is to stop without grace."""
        return self.path / "cancel.now"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the worker of this run; the lock goes with the process. Raises InfrastructureError where there is one."""
        try:
            descriptor = os.open(self.worker_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _refused(error, self.worker_lock) from None
        try:
            # a reader that asks `liveness` holds a shared lock for an instant
            give_up_at = time.monotonic() + _LOCK_PATIENCE_S
            while not _try_lock(descriptor, fcntl.LOCK_EX):
                if time.monotonic() > give_up_at:
                    raise InfrastructureError(
                        f"another worker has this run (process {self.worker_pid() or 'unknown'})",
                        where=str(self.path),
                        hint=f"`repro-tui attach {self.id}` follows it",
                    )
                time.sleep(0.01)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def worker_pid(self) -> int | None:
        """Return the process id that the worker wrote; it may be long gone."""
        try:
            return int(self.worker_lock.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def worker_alive(self) -> bool:
        """Say whether a worker holds this run now."""
        try:
            descriptor = os.open(self.worker_lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not _try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    def liveness(self) -> Liveness:
        """Say whether a worker is here, is about to come, or is gone."""
        if self.worker_alive():
            return Liveness.RUNNING
        with suppress(OSError):
            if self.worker_pid() is None and time.time() - self.path.stat().st_mtime < _START_PATIENCE_S:
                return Liveness.STARTING
        return Liveness.ENDED

    def request_cancel(self, by: str, *, now: bool = False) -> None:
        """Ask the worker to stop; `by` says who asked; `now`: without the grace that the training has otherwise.

        Asking again changes nothing, except from in good time to now.
        """
        try:
            if now:
                with suppress(FileExistsError):
                    self.cancel_now_file.touch(exist_ok=False)
            descriptor = os.open(self.cancel_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            return
        except OSError as error:
            raise _refused(error, self.cancel_file) from None
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps({"at": time.time(), "by": by}) + "\n")

    def cancel_requested(self) -> str | None:
        """Return who asked the run to stop, None where nobody did."""
        try:
            text = self.cancel_file.read_text(encoding="utf-8")
        except OSError:
            return None
        try:
            return str(json.loads(text)["by"])
        except (ValueError, KeyError, TypeError):
            return "somebody"


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _refused(error: OSError, where: Path) -> InfrastructureError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFullError(
            "no space left for the run directory", where=str(where), hint="free some space, or choose another place"
        )
    return InfrastructureError(
        f"the run directory cannot be written: {error.strerror}",
        where=str(error.filename or where),
        hint="choose a folder that you may write to",
    )
