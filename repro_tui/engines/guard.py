"""What ends containers when the worker dies without a word: one small process beside every worker.

It runs in its own session, reads a pipe of which only the worker holds the other end, and when that closes kills what
is left of the worker's containers. bubblewrap's --die-with-parent does the same a moment earlier but not while a
container is being set up; Docker's containers know nothing of their worker.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from repro_tui.engines import cgroups
from repro_tui.engines.workers import Worker, current

MARK = "repro-tui:"
_PODMAN = "podman/"
_lock = threading.Lock()
_pipe: tuple[int, int] | None = None


def watch(line: str = "") -> None:
    """Start this worker's guard unless it runs; `line` is "+NAME" or "-NAME" for a Docker container that came or went.

    A name of Podman's begins with "podman/".

    A guard that cannot be started is no reason not to run: `sweep` finds what it would have removed.
    """
    global _pipe  # noqa: PLW0603 - one guard a process, as the pipe is the process's
    with _lock:
        if _pipe is None or _pipe[0] != os.getpid():
            end, writer = os.pipe()
            nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
            with contextlib.suppress(OSError, NotImplementedError):
                os.posix_spawn(
                    sys.executable,
                    [sys.executable, "-m", __name__, str(current())],
                    os.environ,
                    file_actions=[(os.POSIX_SPAWN_DUP2, end, 0), *nowhere],
                    setsid=True,
                )
            os.close(end)
            _pipe = (os.getpid(), writer)
        if line:
            with contextlib.suppress(BrokenPipeError):
                os.write(_pipe[1], f"{line}\n".encode())


def kill_marked(mark: str, whose: Callable[[Worker], bool]) -> list[str]:
    """Kill the embedded engine's processes whose worker `whose` accepts; return the names of their containers.

    bubblewrap runs under the name `<mark><container>:<worker>`, in its monitor and in the container's first process.
    """
    names: set[str] = set()
    for folder in Path("/proc").glob("[1-9]*"):
        with contextlib.suppress(OSError):
            title = (folder / "cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
            if not title.startswith(mark):
                continue
            name, _, identity = title.removeprefix(mark).rpartition(":")
            worker = Worker.parse(identity)
            if worker is not None and whose(worker):
                os.kill(int(folder.name), signal.SIGKILL)
                names.add(name)
    return sorted(names)


def main() -> None:
    """Wait for the worker's end, then remove what it left."""
    os.chdir("/")
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    worker = Worker.parse(sys.argv[1])
    containers: set[str] = set()
    for line in sys.stdin:
        name = line.strip()[1:]
        (containers.add if line.startswith("+") else containers.discard)(name)
    for _ in range(3):  # a container that was being set up may show itself only now
        kill_marked(MARK, lambda other: other == worker)
        time.sleep(0.1)
    cgroups.sweep()
    of_podman = {name for name in containers if name.startswith(_PODMAN)}
    if containers - of_podman:
        from repro_tui.engines.docker import remove

        remove(sorted(containers - of_podman))
    if of_podman:
        from repro_tui.engines import podman

        podman.remove(sorted(name.removeprefix(_PODMAN) for name in of_podman))


if __name__ == "__main__":
    main()
