"""Record a manifest: from a series over seeds to expected values, a tolerance, digests, pins and the record.

The first seed runs twice, which shows what is the same bit for bit. The manifest is changed at the very end and at
once; a recording that was killed is gone on with.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from repro_tui.artifacts.digests import sha256_file
from repro_tui.errors import InfrastructureError, ManifestError, ReproError, UsageError
from repro_tui.manifest.canonical import digest
from repro_tui.manifest.editing import Document
from repro_tui.manifest.loading import LoadedManifest, inspect
from repro_tui.manifest.placeholders import PLACEHOLDER
from repro_tui.manifest.record import Record, parted, read_record, write_record
from repro_tui.pipeline import launch
from repro_tui.pipeline.plan import Options
from repro_tui.pipeline.series import is_whole, planned
from repro_tui.runs.catalog import list_runs
from repro_tui.runs.directory import Liveness, RunDirectory
from repro_tui.runs.state import of_stage
from repro_tui.verify.statistics import half_width

Level = Literal["bitwise", "metric", "statistical"]
_DONE = "recorded"
"""Marks a series whose values were written."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What is to be expected of a metric; `rule` says where the tolerance comes from."""

    name: str
    split: str
    value: float
    absolute: float
    rule: str
    samples: tuple[float, ...]
    stage: str = ""

    @property
    def place(self) -> str:
        """The split, and the stage in front of it where there is one."""
        return of_stage(self.stage, self.split)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a finished series shows."""

    level: Level
    seeds: tuple[int, ...]
    metrics: tuple[Metric, ...]
    digests: Mapping[str, str]
    """Of the outputs that two runs of the first seed agreed on."""
    moving: tuple[str, ...]
    """Outputs that they did not agree on."""
    record: Record

    @property
    def reached(self) -> str:
        """The level in words, and what two runs of the first seed showed of it."""
        if self.level == "bitwise":
            return "bitwise: two runs of the first seed gave the same metrics, and the same bits in every output"
        if self.level == "statistical":
            return "statistical: two runs of the first seed gave other metrics; only their distribution can come again"
        bits = "other bits in an output" if self.moving else "the script names no output whose bits could be compared"
        return f"exact metric: two runs of the first seed gave the same metrics; {bits}"


@dataclass
class Written:
    """What became of the manifest: keys that were written, and keys that have another value and were left."""

    changed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def recorded_seeds(wish: int | Sequence[int], loaded: LoadedManifest) -> tuple[int, ...]:
    """Return the seeds, the manifest's own first: the record is of that. Raises UsageError for a list without it."""
    seeds = launch.series_seeds(wish, loaded)
    own = loaded.manifest.determinism.seed
    if own not in seeds:
        raise UsageError(
            f"the seeds are without {own}, the manifest's own, which the record is of",
            where="--seeds",
            hint=f"add {own}, or change determinism.seed",
        )
    return (own, *(seed for seed in seeds if seed != own))


def check_writable(loaded: LoadedManifest) -> None:
    """Raise ManifestError or InfrastructureError where nothing could be recorded: before the training, not after it."""
    Document.load(loaded.path).check_writable()
    folder = loaded.path.absolute().parent
    if not os.access(folder, os.W_OK):
        raise InfrastructureError(
            "the folder may not be written to, and the record belongs beside the manifest", where=str(folder),
            hint="record a copy of the project",
        )  # fmt: skip


def names_seed(loaded: LoadedManifest) -> bool:
    """Say whether the seed reaches the task as far as the manifest tells: built-in tasks take it from the job."""
    commands = [stage.task.command for stage in loaded.manifest.every_stage]
    return any(
        words is None or any(found[2] == "seed" for word in words for found in PLACEHOLDER.finditer(word))
        for words in commands
    )


def begin(runs: Path, loaded: LoadedManifest, options: Options) -> tuple[RunDirectory, bool]:
    """Return the series to record from, and whether it has still to run: a stopped one of this manifest goes on.

    Raises UsageError where one is running.
    """
    for entry in list_runs(runs):
        run = entry.run
        if not _same(run, loaded, options) or (run.path / _DONE).exists():
            continue
        if run.liveness() is not Liveness.ENDED:
            raise UsageError(
                f"{run.id} records this manifest already", where=str(run.path), hint=f"`repro-tui attach {run.id}`"
            )
        if all(is_whole(each.run) for each in planned(options, run)):
            return run, False
        if Options.read(run.options).allow_drift == options.allow_drift:
            launch.resume(run)
            return run, True
    return launch.prepare(runs, loaded, options), True


def _same(run: RunDirectory, loaded: LoadedManifest, options: Options) -> bool:
    try:
        there = Options.read(run.options)
        return (
            (there.manifest, there.seeds, there.twice) == (options.manifest, options.seeds, options.twice)
            and run.manifest.read_bytes() == loaded.text.encode()
        )  # fmt: skip
    except (ReproError, OSError):
        return False


def findings(run: RunDirectory, loaded: LoadedManifest, confidence: float) -> Findings:
    """Return what the finished series shows; raises ManifestError for a run that told no metric and no output."""
    options = Options.read(run.options)
    runs = planned(options, run)
    again = read_record(next(each.run.record for each in runs if each.again))
    records = {each.seed: read_record(each.run.record) for each in runs if not each.again}
    first = records[options.seeds[0]]
    metrics, repeated = _metrics(first), _metrics(again)
    digests = {name: value for name, value in first.digests.items() if again.digests.get(name) == value}
    if not metrics and not digests:
        raise ManifestError(
            "nothing came out that could be expected again: no metric, and no output with the same bits twice",
            where=str(run.path),
            hint="the task tells its metrics in the format of docs/wire-format.md",
        )
    moving = tuple(sorted((first.digests.keys() | again.digests.keys()) - digests.keys()))
    level: Level = "statistical"
    if metrics == repeated:
        level = "metric" if moving or not digests else "bitwise"
    wanted = [(each.name, each.split, each.stage or "") for each in loaded.manifest.expected.metrics] or list(metrics)
    found = []
    for key in wanted:
        values = [value for record in records.values() if (value := _metrics(record).get(key)) is not None]
        if len(values) == len(records):
            name, split, stage = key
            found.append(replace(tolerance(name, split, values, repeated.get(key), confidence), stage=stage))
    return Findings(level, options.seeds, tuple(found), digests, moving, first)


def tolerance(name: str, split: str, values: Sequence[float], again: float | None, confidence: float) -> Metric:
    """Return a metric with its tolerance: the prediction interval for one further seed, at least what was seen.

    From one seed there is no spread: the value is expected exactly where two runs agreed, else within the interval that
    the two runs give, and both say that they are a guess for anything else.
    """
    samples = tuple(values)
    percent = f"{100 * confidence:g} %"
    if len(values) == 1 and again in {None, values[0]}:
        rule = "two runs of one seed agreed exactly; for other seeds and machines that is a guess"
        return Metric(name, split, values[0], 0.0, rule, samples)
    rule = f"{percent} prediction interval for one further seed, from {len(values)}"
    if len(values) == 1 and again is not None:
        values = (values[0], again)
        rule = f"{percent} prediction interval from two runs of one seed; for other seeds that is a guess"
    mean = statistics.mean(values)
    farthest = max(abs(value - mean) for value in values)
    width = max(half_width(values, confidence), farthest)
    if width == 0:
        rule = f"all {len(values)} seeds gave the same value: does the task use its seed?"
    return Metric(name, split, mean, _rounded_up(width), rule, samples)


def _rounded_up(width: float) -> float:
    """Return it with three digits, never less: a sample at the edge stays within."""
    if width <= 0:
        return 0.0
    digits = 2 - math.floor(math.log10(width))
    scale = 10.0**digits
    rounded: float = round(math.ceil(width * scale) / scale, max(0, digits))
    return max(rounded, width)


def _metrics(record: Record) -> dict[tuple[str, str, str], float]:
    return {(each["name"], each["split"], each.get("stage", "")): each["value"] for each in record.metrics}


def write(loaded: LoadedManifest, found: Findings, run: RunDirectory, *, force: bool) -> Written:
    """Put what was found into the manifest, all of it or nothing; raises ManifestError where it was changed meanwhile.

    A key that has another value is left as it is, but with `force`.
    """
    document = Document.load(loaded.path)
    if document.text() != loaded.text:
        raise ManifestError(
            "the manifest was changed while it was being recorded", where=str(loaded.path), hint="record it again"
        )
    written = Written()
    pin = _Pin(document, written, force)
    manifest, record = loaded.manifest, found.record
    if manifest.image.dockerfile is None:
        pin("image.manifest_digest", record.image.manifest_digest)
        pin("image.config_digest", record.image.config_digest)
    pin("environment.hash", digest(record.environment))
    for stage in manifest.every_stage:
        if stage.task.name is not None:
            job = record.job["stage"][stage.name] if stage.name else record.job
            pin(stage.key("task", "code_sha256"), job.get("task", {}).get("code_sha256"))
    for metric in found.metrics:
        _write_metric(pin, metric, found.seeds)
    for name, sha256 in sorted(found.digests.items()):
        _write_digest(pin, parted(name, record), sha256, record.host.get("cpu_vendor"))
    old = _write_record(loaded, pin, found)
    _check(document)
    document.save()
    if old is not None:
        old.unlink(missing_ok=True)
    if not written.kept:  # else the same series may still be written with `force`
        (run.path / _DONE).touch()
    return written


@dataclass
class _Pin:
    """Writes one key, and remembers what it did."""

    document: Document
    written: Written
    force: bool

    def __call__(self, path: str, value: Any, comment: str | None = None) -> bool:
        there = self.document.get(path)
        if there == value and type(there) is type(value):
            return True
        if there is not None and not self.force:
            self.written.kept.append(path)
            return False
        self.document.set(path, value, comment)
        self.written.changed.append(
            f"{path} = {_short(value)}" + (f", was {_short(there)}" if there is not None else "")
        )
        return True

    def add(self, path: str, values: Mapping[str, Any], comment: str) -> None:
        """Add an element to an array of tables."""
        self.document.add_table(path, values, array=True, comment=comment or None)
        self.written.changed.append(f"{path}: {_short(values['name'])}")


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 30 else f"{text[:24]}…"


def _write_metric(pin: _Pin, metric: Metric, seeds: Sequence[int]) -> None:
    where = {"name": metric.name, **({"stage": metric.stage} if metric.stage else {}), "split": metric.split}
    values = {**where, "value": metric.value, "absolute": metric.absolute}
    of_seeds = {"samples": list(metric.samples), "seeds": list(seeds)}
    place = _place(pin.document.get("expected.metrics"), metric.name, metric.stage, metric.split)
    if place is None:
        pin.add("expected.metrics", {**values, **of_seeds}, metric.rule)
        return
    path = f"expected.metrics[{place}]"
    told = pin.document.get(path)
    same = told.get("value") == metric.value and told.get("absolute") == metric.absolute
    if pin.force or same:
        pin(f"{path}.value", metric.value)
        pin(f"{path}.absolute", metric.absolute, None if same else metric.rule)
        if told.get("relative"):
            pin.document.remove(f"{path}.relative")
            pin.written.changed.append(f"{path}.relative taken away")
    else:
        pin.written.kept.append(f"{path}.value and its tolerance")
    for key, value in of_seeds.items():
        pin(f"{path}.{key}", value)


def _write_digest(pin: _Pin, of: tuple[str, str], sha256: str, vendor: str | None) -> None:
    stage, name = of
    place = _place(pin.document.get("expected.digests"), name, stage)
    if place is None:
        where = {"name": name, **({"stage": stage} if stage else {})}
        values = {**where, "sha256": sha256, **({"cpu_vendor": vendor} if vendor else {})}
        pin.add("expected.digests", values, "")
    elif pin(f"expected.digests[{place}].sha256", sha256) and vendor:
        pin(f"expected.digests[{place}].cpu_vendor", vendor)


def _place(tables: Any, name: str, stage: str, split: str = "test") -> int | None:
    places = (
        index
        for index, table in enumerate(tables or ())
        if (table.get("name"), table.get("stage", ""), table.get("split", "test")) == (name, stage, split)
    )
    return next(places, None)


def _write_record(loaded: LoadedManifest, pin: _Pin, found: Findings) -> Path | None:
    """Write the record beside the manifest under a name that nothing pins yet; return an old one to take away."""
    recorded = loaded.manifest.recorded
    if recorded is not None and not pin.force:
        pin.written.kept.append("recorded, and determinism.level with it")
        return None
    determinism = {**found.record.job["determinism"], "level": found.level}
    record = found.record.model_copy(update={"job": {**found.record.job, "determinism": determinism}})
    folder = loaded.path.absolute().parent
    target = folder / f"{loaded.path.stem}.record.json"
    new = folder / f".{target.name}.{os.getpid()}"
    old = None
    try:
        write_record(new, record)
        sha256 = sha256_file(new)
        if recorded is not None and recorded.sha256 != sha256:
            old = loaded.resolve(recorded.file)
            if old == target:  # the manifest pins it until it is saved: both stand until then
                target = folder / f"{loaded.path.stem}.{sha256[:8]}.record.json"
        os.replace(new, target)
    finally:
        new.unlink(missing_ok=True)
    level = _Pin(pin.document, pin.written, force=True)  # the record says it too, and they must not differ
    level("determinism.level", found.level)
    pin("recorded.file", target.name)
    pin("recorded.sha256", sha256)
    pin("recorded.when", time.strftime("%Y-%m-%d", time.gmtime()))
    host = ", ".join(str(found.record.host[key]) for key in ("cpu_model", "kernel") if found.record.host.get(key))
    if host:
        pin("recorded.where", host)
    return old


def _check(document: Document) -> None:
    """Raise ManifestError where the new text is no good manifest: the file stays as it is then."""
    trial = document.path.with_name(f".{document.path.name}.{os.getpid()}.new")
    try:
        trial.write_text(document.text(), encoding="utf-8", newline="")
        problems = inspect(trial).problems
    finally:
        trial.unlink(missing_ok=True)
    if problems:
        raise ManifestError(
            "what was recorded does not fit into the manifest, which stays as it is",
            where=str(document.path),
            problems=[problem.block(str(document.path)) for problem in problems],
        )
