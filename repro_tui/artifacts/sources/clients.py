"""Starting the package managers' own clients (pip, apt-get, npm, git), so that the host's configuration holds."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from repro_tui.artifacts.sources.base import Context, SourceUnavailableError
from repro_tui.artifacts.store import store_full

_POLL_S = 0.2
_CREDENTIALS = re.compile(r"(?<=//)[^/\s@]+@")
_DISK_FULL = ("No space left on device", "Disk quota exceeded", "ENOSPC")

# A client must not go on when this process is killed: it would write into scratch that the next run sweeps.
_WITH_PARENT = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a client ended."""

    code: int
    output: str
    errors: str

    def reason(self) -> str:
        """Return the line that says best why it failed, without credentials."""
        lines = [line.strip() for line in (self.errors + "\n" + self.output).splitlines() if line.strip()]
        told = [line for line in lines if re.match(r"(E|ERROR|error|fatal|npm (ERR!|error))\b:?", line)]
        line = (told or lines[-1:] or [f"exit code {self.code}"])[0]
        line = re.sub(r"^(E|ERROR|error|fatal|npm (ERR!|error))\b:?\s*", "", line)
        return without_credentials(line)[:300]


def without_credentials(text: str) -> str:
    """Return a text whose addresses carry no user name and no password."""
    return _CREDENTIALS.sub("", text)


def run_client(
    argv: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    context: Context,
    stdin: Path | None = None,
    stdout: Path | None = None,
    watch: Callable[[], None] | None = None,
) -> Finished:
    """Run a client in a folder of scratch and return how it ended; `watch` is called a few times a second.

    The client dies with this process, and at once when the context is told to stop. Its output is kept in files, for
    a client can write more than a pipe holds; `stdout` names one that the caller reads. Raises StoreFullError where it
    reports a full disk, SourceUnavailableError where it cannot be started or was stopped.
    """
    command = list(argv)
    if sys.platform == "linux":
        command = [sys.executable, "-I", "-S", "-c", _WITH_PARENT, str(os.getpid()), *command]
    out_path, err_path = stdout or folder / "client.out", folder / "client.err"
    with out_path.open("wb") as out, err_path.open("wb") as err, (stdin or Path(os.devnull)).open("rb") as source:
        try:
            process = subprocess.Popen(
                command, cwd=folder, env=dict(environment), stdin=source, stdout=out, stderr=err, start_new_session=True
            )
        except OSError as error:
            raise SourceUnavailableError(f"{argv[0]} cannot be started: {error.strerror}") from error
        try:
            while (code := _ended(process)) is None:
                context.check_stop()
                if watch is not None:
                    watch()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    errors = err_path.read_text("utf-8", "replace")
    output = "" if stdout else out_path.read_text("utf-8", "replace")
    if code != 0 and any(text in errors + output for text in _DISK_FULL):
        raise store_full(context.store.root)
    return Finished(code, output, errors)


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """Wait a moment; return the exit code, or None while the process runs."""
    try:
        return process.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return None


def folder_bytes(*folders: Path) -> int:
    """Return how many bytes are in the files below the folders, which may change meanwhile."""
    total = 0
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(os.path.join(parent, name)).st_size
    return total
