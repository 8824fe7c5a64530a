"""Make a run directory for a manifest: the headless command and the terminal UI start their runs through this."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from repro_tui.errors import UsageError
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.pipeline.origin import bundle_of
from repro_tui.pipeline.plan import Options
from repro_tui.pipeline.series import is_whole, planned
from repro_tui.runs.directory import Liveness, RunDirectory
from repro_tui.verify import statistics

MOST_SEEDS = 1000


def prepare(runs: Path, loaded: LoadedManifest, options: Options) -> RunDirectory:
    """Return a new run directory under `runs` with manifest and options; `worker.spawn` then starts it.

    Raises InfrastructureError where it cannot be made or its test needs SciPy, StoreFullError where no space is left.
    """
    if options.seed is None and not options.seeds and loaded.manifest.verify is not None:
        options = replace(options, seeds=series_seeds(loaded.manifest.verify.seeds, loaded))
    if options.seeds and loaded.manifest.verify is not None and loaded.manifest.verify.test != "every-seed":
        statistics.require()  # before anything is downloaded
    if (bundle := bundle_of(loaded.path)) is not None:
        options = replace(options, bundle=bundle.name, bundle_sha256=bundle.sha256)
    run = RunDirectory.create(runs, options.experiment)
    run.manifest.write_text(loaded.text, encoding="utf-8", newline="")
    options.write(run.options)
    return run


def wished_seeds(text: str) -> int | tuple[int, ...]:
    """Return how many seeds a person asked for, or which ("1,2,3"; "7," is one); raises ValueError for others."""
    parts = [part.strip() for part in text.split(",")]
    with suppress(ValueError):
        found = tuple(int(part) for part in parts if part)
        known = bool(found) and all(0 <= seed < 2**32 for seed in found)
        if known and len(parts) > 1 and len(set(found)) == len(found) <= MOST_SEEDS:
            return found
        if known and len(parts) == 1 and 1 <= found[0] <= MOST_SEEDS:
            return found[0]
    raise ValueError(f"{text!r} is neither how many (1 to {MOST_SEEDS}) nor a list of different seeds")


def series_seeds(wish: int | Sequence[int], loaded: LoadedManifest) -> tuple[int, ...]:
    """Return the seeds of a series: those that are named, or so many from the manifest's on."""
    if not isinstance(wish, int):
        return tuple(wish)
    first = loaded.manifest.determinism.seed
    return tuple((first + number) % 2**32 for number in range(wish))


def resume(run: RunDirectory) -> Options:
    """Make the run directory of a series ready to go on; `worker.spawn` then does the seeds that are not finished.

    What the earlier attempt told is put aside as `events.before-<n>.jsonl`. Raises UsageError where there is nothing to
    go on with, or the manifest is another one by now.
    """
    options = Options.read(run.options)
    if not options.seeds:
        raise UsageError(
            f"{run.id} is one run, no series over seeds", where=str(run.path), hint="run the manifest again instead"
        )
    if run.liveness() is not Liveness.ENDED:
        raise UsageError(f"{run.id} is running", where=str(run.path), hint=f"`repro-tui attach {run.id}` follows it")
    if run.report.is_file() and all(is_whole(each.run) for each in planned(options, run)):
        raise UsageError(
            f"{run.id} has finished, with all its seeds",
            where=str(run.path),
            hint=f"`repro-tui show {run.id}` has the verdict; run the manifest again for new ones",
        )
    try:
        same = Path(options.manifest).read_bytes() == run.manifest.read_bytes()
    except OSError:
        same = False
    if not same:
        raise UsageError(
            "the manifest is not the one that the series began with",
            where=options.manifest,
            hint=f"`repro-tui check {options.bundle}` opens the bundle again, where it was pruned from the store"
            if options.bundle
            else f"restore it from {run.manifest}, or begin a new series",
        )
    number = sum(1 for _ in run.path.glob("events.before-*.jsonl")) + 1
    if run.events.exists():
        run.events.rename(run.path / f"events.before-{number}.jsonl")
    for old in (run.cancel_file, run.cancel_now_file, run.report, run.report_markdown, run.record, run.worker_lock):
        old.unlink(missing_ok=True)
    return options
