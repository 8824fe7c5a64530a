"""Follow a run to its end: `run` and `attach` do it, with the same reporters and the same exit codes."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol, Self

from repro_tui.cli import console
from repro_tui.errors import ExitCode, InfrastructureError
from repro_tui.events import Event, Verdict
from repro_tui.runs import words
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.reader import RunReader
from repro_tui.runs.state import RunState

_POLL_S = 0.1
_EXIT_PATIENCE_S = 5.0
_WORKER_LOG_LINES = 5
_TO_EXPLAIN = {Verdict.METRICS_DIFFER, Verdict.ENVIRONMENT_DRIFT}


class Reporter(Protocol):
    """Shows the state of a run to a person, as often as it is given one."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def event(self, event: Event) -> None:
        """Be told one event; the state has it already."""

    def show(self, state: RunState) -> None:
        """Show how things are, at least once a poll."""

    def message(self, text: str) -> None:
        """Say something that is not in the state."""


class _Detached(Exception):  # noqa: N818 - no error: the user wants to leave
    """Ctrl-C while watching somebody else's run, or for the third time."""


def follow(
    run: RunDirectory, *, process: subprocess.Popen[bytes] | None, json: bool, plain: bool, quiet: bool = False
) -> int:
    """Follow a run to its verdict and return its exit code.

    `process` is the worker where this process started it: then Ctrl-C cancels the run, else it only leaves. `quiet`:
    nothing is printed to stdout. Raises InfrastructureError where the worker died without a word.
    """
    reader = RunReader(run)
    reporter = _reporter(plain=plain)
    reader.listener = reporter.event
    with reporter:
        try:
            _watch(reader, reporter, process)
        except _Detached:
            reporter.message(f"the run goes on; follow it with:  repro-tui attach {run.path}")
            return int(ExitCode.INTERRUPTED)
    if not reader.state.finished:
        raise _death(run, process)
    if process is not None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_PATIENCE_S)
    if json:
        console.data(run.report.read_text(encoding="utf-8"))
    elif not quiet:
        lines = [*series_lines(run), *words.summary(reader.state)]
        lines.append(f"report: {run.report_markdown}")
        if reader.state.verdict in _TO_EXPLAIN:
            lines.append(f"why:    repro-tui diff {shlex.quote(str(run.path))}")
        console.data("\n".join(lines) + "\n")
    return int(reader.state.exit_code or 0)


def series_lines(run: RunDirectory) -> Iterator[str]:
    """Yield what the seeds of a series gave; nothing for one run."""
    from repro_tui.report import json as report_json
    from repro_tui.report import series

    if not run.seeds.is_dir() or not run.report.is_file():
        return
    reported = report_json.read(run.report).series
    if reported is not None:
        yield from map(words.printable, series.text(reported))
        if reported.seeds:
            first = shlex.quote(str(run.path / reported.seeds[0].run))
            yield words.printable(f"  one by itself: repro-tui show {first}")
        yield ""


def _reporter(*, plain: bool) -> Reporter:
    if plain or not (sys.stderr.isatty() and sys.stdout.isatty()):
        from repro_tui.cli.plain import PlainReporter

        return PlainReporter()
    from repro_tui.cli.live import LiveReporter

    return LiveReporter()


def _watch(reader: RunReader, reporter: Reporter, process: subprocess.Popen[bytes] | None) -> None:
    """Return when the run has said its last word, or its worker is gone."""
    interrupts = 0
    while True:
        try:
            ended = reader.died() if process is None else process.poll() is not None
            new = reader.poll()
            if ended:
                reader.read_all()
            reporter.show(reader.state)
            if ended or reader.state.finished:
                return
            if not new:
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            interrupts += 1
            _on_interrupt(reader.run, reporter, interrupts, own=process is not None)


def _on_interrupt(run: RunDirectory, reporter: Reporter, times: int, *, own: bool) -> None:
    if not own or times > 2:
        raise _Detached
    run.request_cancel("Ctrl-C", now=times == 2)
    if times == 1:
        reporter.message("cancelling: the training has 10 s to end by itself; Ctrl-C again kills it")
    else:
        reporter.message("killing it")


def _death(run: RunDirectory, process: subprocess.Popen[bytes] | None) -> InfrastructureError:
    """Return the error for a worker that is gone without its last word."""
    log = run.log("worker")
    how = "died"
    if process is not None and process.returncode < 0:
        how = f"was killed by signal {-process.returncode}"
    elif process is not None:
        how = f"ended with exit code {process.returncode}"
    try:
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_WORKER_LOG_LINES:]
    except OSError:
        last = []
    said = f"; its last words: {words.printable(' | '.join(last))}" if last else ""
    return InfrastructureError(
        f"the worker of {run.id} {how} before the run was over{said}",
        where=str(log),
        hint="nothing half-done is kept: run it again",
    )
