"""What a page or a crate shows of a run beside its report, out of the run directory. Nothing in it is trusted."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from repro_tui.manifest.models import Manifest
from repro_tui.report.model import Report
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.logtext import displayed
from repro_tui.runs.reader import read_state
from repro_tui.verify.metrics import open_output

MAX_LOG_LINES = 120
_LOG_BYTES = 64 << 10
_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Beside:
    """What a page shows beside the report, as far as it is there."""

    manifest: Manifest | None = None
    series: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    """Numbers over steps, by name: "loss", "test/accuracy"."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Versions of the image's Python packages by name."""
    log: Sequence[str] = ()
    """The last lines of the stage that failed."""


def beside(run: RunDirectory, report: Report) -> Beside:
    """Return everything of a run that report.html shows beside the report; what is not there is left out."""
    return Beside(
        manifest=read_manifest(run),
        series={name: list(points) for name, points in read_state(run).series.items()},
        packages=_packages(run),
        log=_log(run, report),
    )


def read_manifest(run: RunDirectory) -> Manifest | None:
    """Return the manifest as it was when the run began; the files that it pins need not be there."""
    try:
        return Manifest.model_validate(tomllib.loads(_read(run, run.manifest.name).decode()))
    except (ValueError, RecursionError):
        return None


def _packages(run: RunDirectory) -> dict[str, str]:
    try:
        found = json.loads(_read(run, run.environment.name))["distributions"]
        return {str(name): str(facts["version"]) for name, facts in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _read(run: RunDirectory, name: str) -> bytes:
    """Return a file of a run that somebody else may have made: no link, no pipe, no more than is sensible."""
    try:
        with open_output(run.path, name) as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(str(error)) from None
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{name} is larger than {_MAX_BYTES} bytes")
    return content


def _log(run: RunDirectory, report: Report) -> list[str]:
    if report.failure is None or not report.failure.stage:
        return []
    try:
        with open_output(run.path, f"logs/{report.failure.stage}.log") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _LOG_BYTES))
            lines = file.read(_LOG_BYTES).splitlines()
    except (ValueError, OSError):
        return []
    return displayed(lines[-MAX_LOG_LINES:])
