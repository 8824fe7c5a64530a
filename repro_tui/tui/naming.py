"""How a run is named on a command line, for those who leave the screen."""

from __future__ import annotations

import shlex
from pathlib import Path

from repro_tui.errors import ReproError
from repro_tui.runs.directory import RunDirectory


def name(run: RunDirectory) -> str:
    """Return what the commands take for a run: its id where it lies in ./runs, else its folder."""
    return run.id if run.path.parent == Path("runs").absolute() else shlex.quote(str(run.path))


def command(run: RunDirectory) -> str:
    """Return the command line that starts a run again."""
    from repro_tui.pipeline.plan import Options

    try:
        options = Options.read(run.options)
    except ReproError:
        return f"repro-tui show {name(run)}"
    parts = ["repro-tui", "run", options.manifest]
    if options.engine is not None:
        parts += ["--engine", options.engine]
    if options.seed is not None:
        parts += ["--seed", str(options.seed)]
    if options.seeds:
        parts += ["--seeds", f"{','.join(map(str, options.seeds))}{',' * (len(options.seeds) == 1)}"]
    parts += ["--offline"] if options.offline else []
    parts += ["--allow-drift"] if options.allow_drift else []
    return shlex.join(parts)
