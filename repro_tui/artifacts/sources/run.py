"""What a run of another manifest left behind, out of its run directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from repro_tui.artifacts.digests import sha256_file
from repro_tui.artifacts.sources.base import SourceUnavailableError
from repro_tui.runs.catalog import list_runs
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.reader import read_state
from repro_tui.runs.state import of_stage

ENV_RUNS = "REPRO_TUI_RUNS"
"""Environment variable that names the folder of the runs."""


def runs_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the runs, as the command line has it where nothing else is said."""
    return Path(environ.get(ENV_RUNS) or "runs")


def find(runs: Path, experiment: str, output: str, *, stage: str, sha256: str, size_bytes: int) -> Path:
    """Return the output with that digest and size of the newest run that has it; raises SourceUnavailableError.

    Files are hashed: what a run says of itself is not asked for.
    """
    count = 0
    for run in _runs(runs, experiment):
        count += 1
        path = output_of(run, output, stage=stage)
        try:
            if path is not None and path.stat().st_size == size_bytes and sha256_file(path) == sha256:
                return path
        except OSError:
            continue
    raise SourceUnavailableError(
        f"none of {count} runs in {runs}{os.sep} left it" if count else f"there is no run of it in {runs}{os.sep}",
        hint=f"the manifest {experiment} makes it: run that one first, here, or name the folder of its runs by --runs",
    )


def newest(runs: Path, experiment: str, output: str, *, stage: str) -> Path:
    """Return an output of the newest run that has one of the name; raises SourceUnavailableError."""
    for run in _runs(runs, experiment):
        if (path := output_of(run, output, stage=stage)) is not None:
            return path
    raise SourceUnavailableError(
        f"no run of {experiment} in {runs}{os.sep} has an output {output!r}",
        hint=f"run the manifest of {experiment} first",
    )


def output_of(run: RunDirectory, output: str, *, stage: str) -> Path | None:
    """Return where an output of a run lies, None where it is not a file below the run's folder of outputs."""
    told = read_state(run).outputs.get(of_stage(stage, output))
    if told is None:
        return None
    path = (run.out / told.path.removeprefix("/out/")).resolve()
    return path if path.is_relative_to(run.out.resolve()) and path.is_file() else None


def _runs(folder: Path, experiment: str) -> Iterator[RunDirectory]:
    """Yield the runs of an experiment, newest first; of a series each seed."""
    for entry in list_runs(folder):
        if entry.experiment == experiment:
            seeds = sorted(entry.run.seeds.iterdir()) if entry.seeds and entry.run.seeds.is_dir() else []
            yield from (RunDirectory(path) for path in seeds)
            yield entry.run
