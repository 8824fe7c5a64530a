"""The worker: a process of its own session that carries one run out and outlives whoever started it.

`python -m repro_tui.pipeline.worker RUN_DIRECTORY`; it writes the run directory and nothing else, its own words go to
logs/worker.log.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from repro_tui import __version__
from repro_tui.errors import ExitCode, ReproError, from_os_error
from repro_tui.events import CancelRequested, RunStarted
from repro_tui.pipeline.plan import STAGES, Options
from repro_tui.runs.directory import RunDirectory


def spawn(run: RunDirectory) -> subprocess.Popen[bytes]:
    """Start the worker of a run directory that holds manifest and options, detached from this terminal."""
    with run.log("worker").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "repro_tui.pipeline.worker", str(run.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def work(run: RunDirectory) -> int:
    """Carry the run out; the exit code is the verdict's."""
    from repro_tui.artifacts.store import Store, default_store_path
    from repro_tui.pipeline import runner, series
    from repro_tui.pipeline.context import Context
    from repro_tui.pipeline.interrupt import Interrupt
    from repro_tui.pipeline.reserve import Reserve
    from repro_tui.runs.journal import Journal

    options = Options.read(run.options)
    store = Store(Path(options.store) if options.store else default_store_path())
    store.keep(Path(options.manifest))
    reserve = Reserve(run.path / ".reserve")
    above = run.series
    with Journal(run.events) as journal:

        def wish() -> str | None:
            asked = [each for each in (run, above) if each is not None]
            if any(each.cancel_now_file.exists() for each in asked):
                return "now"
            if above is not None and not above.worker_alive():
                return "graceful"  # the series was killed, which goes on with a seed only as a whole
            return "graceful" if any(each.cancel_file.exists() for each in asked) else None

        def tell() -> None:
            context.emit(
                CancelRequested(
                    at=time.time(), by=run.cancel_requested() or (above and above.cancel_requested()) or "somebody"
                )
            )

        context = Context(
            run=run, options=options, journal=journal, store=store, interrupt=Interrupt(wish, tell), reserve=reserve
        )
        context.emit(
            RunStarted(
                at=time.time(),
                run_id=run.id,
                experiment=options.experiment,
                title=options.title,
                manifest=options.manifest,
                stages=series.STAGES if options.seeds else STAGES,
                version=__version__,
                pid=os.getpid(),
            )
        )
        try:
            return int((series.walk if options.seeds else runner.walk)(context).exit_code)
        finally:
            reserve.release()


def main(argv: list[str]) -> int:
    """Lock the run directory and carry the run out; the exit code is that of the verdict."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # says into the log where it is
    for ignored in (signal.SIGHUP, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    os.umask(0o022)
    run = RunDirectory(Path(argv[0]))
    code = int(ExitCode.INFRASTRUCTURE)
    try:
        with run.locked():
            code = work(run)
    except (ReproError, OSError) as raised:
        error = from_os_error(raised) if isinstance(raised, OSError) else raised
        with suppress(OSError):  # where not even that can be written, the exit code stays
            print(f"{error.message} ({error.where}): {error.hint}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)  # whatever thread an interrupted stage has left waits for nothing any more
