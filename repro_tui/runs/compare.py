"""Two runs side by side as plain data: pins, hyperparameters, metrics, times. Nothing is judged, only put together."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from repro_tui.files import read_plain
from repro_tui.manifest.pins import differences
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.outcome import difference, number
from repro_tui.runs.series import Series
from repro_tui.runs.state import MetricKey, RunState
from repro_tui.runs.words import duration

_MAX_BYTES = 16 << 20
_Name = TypeVar("_Name")


@dataclass(frozen=True, slots=True)
class Pair:
    """One thing of two runs; an empty text is nothing known of it. `difference` for numbers: right minus left."""

    name: str
    left: str
    right: str
    difference: str = ""

    @property
    def same(self) -> bool:
        """Say whether both are the same."""
        return self.left == self.right


def pins(left: RunState, right: RunState) -> list[Pair]:
    """Return what each pin turned out to be: image, artifacts, code, job, environment, output digests."""
    names = _both(
        (check.name for check in left.checks.values() if check.component != "metrics"),
        (check.name for check in right.checks.values() if check.component != "metrics"),
    )
    return [_pair(name, _observed(left, name), _observed(right, name)) for name in names]


def metrics(left: RunState, right: RunState) -> list[Pair]:
    """Return the last value of every metric; those of one class only are left to the tables."""
    keys = _both(_plain(left), _plain(right))
    return [_pair(str(key), _metric(left, key), _metric(right, key)) for key in sorted(keys)]


def times(left: RunState, right: RunState) -> list[Pair]:
    """Return how long each stage took, and all of it."""
    pairs = []
    for name in _both(left.stages, right.stages):
        one, other = left.timings_s.get(name), right.timings_s.get(name)
        off = f"{other - one:+.1f} s" if one is not None and other is not None and abs(other - one) >= 0.05 else ""
        pairs.append(Pair(name, _seconds(one), _seconds(other), off))
    return pairs


def hyperparameters(left: RunDirectory, right: RunDirectory) -> list[Pair]:
    """Return the jobs side by side, key by key: all hyperparameters and seeds, and whatever else is not the same."""
    one, other = read_job(left), read_job(right)
    differing = {path: (a, b) for path, a, b in differences(one, other)}
    pairs = [
        Pair(name, _show(a), _show(b), difference(_show(a), _show(b)) if a != b else "")
        for name, a, b in _hyperparameters(one, other)
    ]
    known = {pair.name for pair in pairs} | {f"hyperparameters.{pair.name}" for pair in pairs}
    pairs += [Pair(path, _show(a), _show(b)) for path, (a, b) in differing.items() if path not in known]
    return pairs


def curves(left: RunState, right: RunState) -> list[tuple[str, Series | None, Series | None]]:
    """Return the series that either run has, the loss first."""
    names = _both(left.series, right.series)
    return [
        (name, left.series.get(name), right.series.get(name))
        for name in sorted(names, key=lambda name: (name != "loss", "/" in name, name))
    ]


def read_job(run: RunDirectory) -> dict[str, Any]:
    """Return what the task was given; of a run that did not come so far, what its manifest says; {} for neither."""
    job = read_json(run.job / "job.json") or _staged(
        {path.parent.name: read_json(path) for path in sorted(run.job.glob("*/job.json"))}
    )
    if job:
        return job
    try:
        manifest = tomllib.loads(read_plain(run.manifest, _MAX_BYTES).decode())
    except (OSError, ValueError, RecursionError):
        return {}
    determinism = _table(manifest.get("determinism"))
    seed = read_json(run.options).get("seed")
    return {
        "seed": determinism.get("seed") if seed is None else seed,
        "hyperparameters": dict(_table(manifest.get("hyperparameters"))) | _hyperparameters_of(manifest.get("stage")),
    }


def _staged(jobs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the jobs of stages as one: what all of them share, and what each has of its own by its name."""
    found: dict[str, Any] = {}
    for stage, job in jobs.items():
        own = {name: value for name, value in job.items() if name in {"hyperparameters", "splits"}}
        found |= {name: value for name, value in job.items() if name not in {*own, "task", "model"}}
        for name, values in own.items():
            found.setdefault(name, {}).update({f"{stage}.{key}": value for key, value in _table(values).items()})
    return found


def _hyperparameters_of(stages: Any) -> dict[str, Any]:
    tables = [_table(stage) for stage in stages] if isinstance(stages, list) else []
    return {
        f"{stage.get('name')}.{key}": value
        for stage in tables
        for key, value in _table(stage.get("hyperparameters")).items()
    }


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, {} where there is none."""
    try:
        found = json.loads(read_plain(path, _MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _hyperparameters(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    for name in ("seed", "data_seed", "device", "threads", "cpu_capability"):
        if name in one or name in other:
            yield name, one.get(name), other.get(name)
    inner, others = (_table(job.get("hyperparameters")) for job in (one, other))
    for name in _both(inner, others):
        yield name, inner.get(name), others.get(name)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _both(one: Iterable[_Name], other: Iterable[_Name]) -> list[_Name]:
    return list(dict.fromkeys([*one, *other]))


def _pair(name: str, left: str, right: str) -> Pair:
    return Pair(name, number(left), number(right), difference(left, right) if left != right else "")


def _observed(state: RunState, name: str) -> str:
    check = state.checks.get(name)
    return "" if check is None else check.observed


def _plain(state: RunState) -> list[MetricKey]:
    return [key for key in state.metrics if not key.label]


def _metric(state: RunState, key: MetricKey) -> str:
    found = state.metrics.get(key)
    return "" if found is None or found.value is None else repr(found.value)


def _seconds(value: float | None) -> str:
    return "" if value is None else duration(value)


def _show(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
