"""The runs under a folder: what `repro-tui list` prints, and how a run is found by what a person typed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from repro_tui.errors import UsageError
from repro_tui.events import Event, RunFinished, RunStarted, from_line
from repro_tui.runs.directory import Liveness, RunDirectory

_END_BYTES = 64 << 10
SEEDS = "seeds"
"""The stage that only a series has."""


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One run: `status` is its verdict, or "running", "starting", "died" or "broken"; `started_at` in epoch seconds."""

    run: RunDirectory
    status: str
    experiment: str = ""
    title: str = ""
    started_at: float | None = None
    duration_s: float | None = None
    exit_code: int | None = None
    seeds: int = 0
    """Of a series: how many of its seeds were begun, at least one."""


def list_runs(root: Path) -> list[RunEntry]:
    """Return the runs under `root`, newest first; what is no run directory is passed over, a broken one is listed."""
    try:
        with os.scandir(root) as entries:
            folders = [Path(entry.path) for entry in entries if entry.is_dir()]
    except OSError:
        return []
    found = [read_entry(RunDirectory(folder)) for folder in folders if looks_like_a_run(folder)]
    return sorted(found, key=lambda entry: (entry.started_at or 0.0, entry.run.id), reverse=True)


def read_entry(run: RunDirectory) -> RunEntry:
    """Return one run's entry from the two ends of its journal, however long that is."""
    alive = run.liveness()
    try:
        first, last = _ends(run.events)
    except OSError:
        first, last = [], []
    started = next((event for event in first if isinstance(event, RunStarted)), None)
    finished = next((event for event in reversed(last) if isinstance(event, RunFinished)), None)
    if started is None:
        return RunEntry(run, alive.value if alive is not Liveness.ENDED else "broken")
    if finished is not None:
        status, until = finished.verdict.value, finished.at
    elif alive is Liveness.ENDED:
        status, until = "died", last[-1].at if last else started.at
    else:
        status, until = Liveness.RUNNING.value, time.time()
    return RunEntry(
        run,
        status,
        experiment=started.experiment,
        title=started.title,
        started_at=started.at,
        duration_s=max(0.0, until - started.at),
        exit_code=finished.exit_code if finished else None,
        seeds=_seeds(run) if SEEDS in started.stages else 0,
    )


def find_run(root: Path, name: str) -> RunDirectory:
    """Return the run that a person means: a path, an id, the beginning of one id only, or "last".

    Raises UsageError that lists what there is.
    """
    given = Path(name)
    if name.startswith(f"last{os.sep}") and (newest := list_runs(root)):
        given = newest[0].run.path / name.partition(os.sep)[2]
    if os.sep in name and not looks_like_a_run(given) and looks_like_a_run(root / given):
        given = root / given  # one seed of a series: RUN/seeds/7
    if (os.sep in name or name in {".", ".."} or not (root / name).is_dir()) and looks_like_a_run(given):
        return RunDirectory(given.resolve())
    runs = list_runs(root)
    if name == "last" and runs:
        return runs[0].run
    exact = [entry.run for entry in runs if entry.run.id == name]
    found = exact or [entry.run for entry in runs if name and entry.run.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    if not found and given.is_file():
        raise UsageError(
            f"{name} is a file, and no run",
            where=str(root),
            hint=f"`repro-tui --run {name}` runs a manifest or a bundle; `check`, `diff` and `export` read one",
        )
    known = ", ".join(run.id for run in (found or [entry.run for entry in runs])[:5])
    if found:
        raise UsageError(
            f"{name!r} could be any of {len(found)} runs: {known}", where=str(root), hint="write more of it"
        )
    raise UsageError(
        f"there is no run {name!r}",
        where=str(root),
        hint=f"there are: {known}" if known else "there are no runs here; --runs names another folder",
    )


def looks_like_a_run(folder: Path) -> bool:
    """Say whether a folder is a run directory, by what lies in it."""
    return any((folder / name).exists() for name in ("events.jsonl", "worker.lock", "options.json"))


def _seeds(run: RunDirectory) -> int:
    try:
        with os.scandir(run.seeds) as entries:
            return max(1, sum(entry.name.isdecimal() for entry in entries))
    except OSError:
        return 1


def _ends(journal: Path) -> tuple[list[Event], list[Event]]:
    """Return the events at the beginning and at the end of a journal."""
    with journal.open("rb") as file:
        head = file.read(_END_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END_BYTES))
        tail = file.read()
    first = head.split(b"\n") if size <= _END_BYTES else head.split(b"\n")[:-1]
    last = tail.split(b"\n") if size <= _END_BYTES else tail.split(b"\n")[1:]
    return _events(first), _events(last)


def _events(lines: Iterable[bytes]) -> list[Event]:
    found: list[Event] = []
    for line in lines:
        try:
            event = from_line(line) if line else None
        except (ValueError, RecursionError):
            continue
        if event is not None and isinstance(event.at, int | float):
            found.append(event)
    return found
