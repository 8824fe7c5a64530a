"""Start runs from the UI: each a process of its own that goes on whatever becomes of the UI."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.errors import from_os_error
from repro_tui.events import Verdict
from repro_tui.manifest.loading import LoadedManifest, load
from repro_tui.pipeline import launch, worker
from repro_tui.pipeline.plan import Options
from repro_tui.runs.catalog import read_entry
from repro_tui.runs.directory import RunDirectory

if TYPE_CHECKING:
    from repro_tui.bundles.opening import Bundle

_workers: list[subprocess.Popen[bytes]] = []
"""Started here: to be waited for once they have ended, so that none stays as a zombie."""


def mirror_folders(more: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Return mirror folders, and those that the environment names; raises UsageError for one that is not there."""
    from repro_tui.artifacts.mirrors import mirrors_from

    return mirrors_from([*more])


def bundle(path: Path) -> Bundle | None:
    """Return the bundle at a path, checked and opened in the store; None for what is no bundle. Raises ReproError."""
    from repro_tui.bundles.reading import looks_like_bundle

    if not looks_like_bundle(path):
        return None
    from repro_tui.artifacts.store import Store, default_store_path
    from repro_tui.bundles.opening import open_bundle

    return open_bundle(path, Store(default_store_path()))  # stays claimed while this UI lives: a run of it may begin


def start(
    runs: Path,
    loaded: LoadedManifest,
    *,
    engine: str | None = None,
    seed: int | None = None,
    seeds: tuple[int, ...] = (),
    offline: bool = False,
    mirrors: Sequence[Path] = (),
) -> RunDirectory:
    """Start a run of a manifest under `runs`; raises a ReproError where that cannot be."""
    from repro_tui.artifacts.sources.apt import ENV_DEBIAN_MIRROR

    return _go(
        runs,
        loaded,
        Options(
            manifest=str(loaded.path.absolute()),
            experiment=loaded.manifest.experiment.name,
            title=loaded.manifest.experiment.title,
            engine=engine,
            mirrors=tuple(map(str, mirror_folders(mirrors))),
            debian_mirror=os.environ.get(ENV_DEBIAN_MIRROR) or None,
            offline=offline,
            seed=seed,
            seeds=seeds,
        ),
    )


def rerun(run: RunDirectory) -> RunDirectory:
    """Start the same run again beside the old one, with the same options; raises a ReproError where that cannot be.

    One seed of a series becomes a run by itself, beside the series.
    """
    options = replace(Options.read(run.options), gpus=())
    return _go((run.series or run).path.absolute().parent, load(Path(options.manifest)), options)


def can_go_on(run: RunDirectory) -> bool:
    """Say whether this is a series that has seeds left to run."""
    entry = read_entry(run)
    return bool(entry.seeds) and entry.status in {Verdict.CANCELLED, Verdict.FAILED, "died"}


def resume(run: RunDirectory) -> RunDirectory:
    """Go on with a series that was stopped: finished seeds are kept; raises a ReproError where that cannot be."""
    launch.resume(run)
    return _spawn(run)


def _go(runs: Path, loaded: LoadedManifest, options: Options) -> RunDirectory:
    return _spawn(launch.prepare(runs, loaded, options))


def _spawn(run: RunDirectory) -> RunDirectory:
    _workers[:] = [process for process in _workers if process.poll() is None]
    try:
        _workers.append(worker.spawn(run))
    except OSError as error:
        raise from_os_error(error) from error
    return run
