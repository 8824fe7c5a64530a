"""Make a run directory for a manifest: the headless command and the terminal UI start their runs through this."""

from __future__ import annotations

from pathlib import Path

from repro_tui.manifest.loading import LoadedManifest
from repro_tui.pipeline.plan import Options
from repro_tui.runs.directory import RunDirectory


def prepare(runs: Path, loaded: LoadedManifest, options: Options) -> RunDirectory:
    """Return a new run directory under `runs` with manifest and options; `worker.spawn` then starts it.

    Raises InfrastructureError where it cannot be made, StoreFullError where no space is left.
    """
    run = RunDirectory.create(runs, options.experiment)
    run.manifest.write_text(loaded.text, encoding="utf-8", newline="")
    options.write(run.options)
    return run
