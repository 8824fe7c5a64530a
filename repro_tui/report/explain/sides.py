"""What is known of a run, of a manifest, or of a manifest's record. Whatever cannot be read is not known, no error.

A run directory may come from anybody: only plain files are read, of bounded size, and nothing in it is believed further
than what it says of itself; data is compared only where its bytes have the digest that is pinned.
"""

from __future__ import annotations

import hashlib
import stat
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from repro_tui.errors import ReproError
from repro_tui.files import read_plain
from repro_tui.images.locks import read_lock
from repro_tui.manifest import loading, pins
from repro_tui.manifest.code import builtin_code_files
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.manifest.models import ExpectedMetric, Manifest
from repro_tui.manifest.record import Record, read_record
from repro_tui.manifest.trees import tree_digest
from repro_tui.report.explain.model import Named
from repro_tui.report.explain.places import Places, plain_tree
from repro_tui.runs.catalog import read_entry
from repro_tui.runs.compare import read_job, read_json
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.reader import read_state
from repro_tui.runs.state import MetricKey, RunState
from repro_tui.verify.environment import COMPONENTS
from repro_tui.verify.metrics import key_of, output_name

_LISTING_BYTES = 64 << 20
_UNREADABLE = (ValueError, KeyError, TypeError, RecursionError, OSError)


@dataclass(frozen=True, kw_only=True)
class Side:
    """What is known; None, or nothing in a mapping, is not known."""

    named: Named
    job: Mapping[str, Any] = field(default_factory=dict)
    """Sections of manifest.pins.pinned_job."""
    manifest: Manifest | None = None
    """What was asked for."""
    lock: Mapping[str, str] = field(default_factory=dict)
    """Versions by distribution, of the manifest's dependency lock."""
    environment: Mapping[str, Any] | None = None
    """Summary of the probe, of the run or of the record."""
    listing: Path | None = None
    """Every file that the probe saw."""
    host: Mapping[str, Any] = field(default_factory=dict)
    image: Mapping[str, str] = field(default_factory=dict)
    """Digests of the image, by what they are of."""
    engine: str = ""
    version: str = ""
    """Of repro-tui."""
    metrics: Mapping[MetricKey, float] = field(default_factory=dict)
    """Final values, by name and split."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of the outputs, by name."""
    series: Path | None = None
    """The metrics file of a run."""
    names: Sequence[str] = ()
    """Names of the series in it."""
    samples: Mapping[MetricKey, Sequence[float]] = field(default_factory=dict)
    """Of a series over seeds: the values of each metric, whose mean is its final one."""
    seeds: Sequence[int] = ()
    """Of a series: the seeds that came to their end."""
    places: Places = field(default_factory=Places)
    code: Path | None = None
    """Folder of the code of a built-in task, as a run was given it."""

    @property
    def expected(self) -> Sequence[ExpectedMetric]:
        """The metrics that the manifest expects."""
        return () if self.manifest is None else self.manifest.expected.metrics


def of_run(run: RunDirectory, *, store: Path | None = None, mirrors: Sequence[Path] = ()) -> Side:
    """Return what is known of a run; data is looked for in its own store, in `store` and in the mirrors."""
    state = read_state(run)
    options = read_json(run.options)
    loaded = _copy_of_manifest(run, options)
    record = _record(run.record)
    manifest = None if loaded is None else loaded.manifest
    folders = [Path(found) for found in (*_texts([options.get("store")]), *_texts(options.get("mirrors")))]
    report = read_json(run.report)
    environment = _summary(read_json(run.environment)) or (record and _summary(record.environment)) or None
    host = read_json(run.environment).get("host")
    code = run.code if plain_tree(run.code) else None
    over_seeds = (run.path / "seeds").is_dir()  # its metrics file has seeds for steps
    return Side(
        named=Named(
            "series" if over_seeds else "run",
            run.id,
            str(run.path),
            read_entry(run).status if _plain(run.events) else "broken",
        ),
        job=_job_of_run(run, loaded, record, code),
        manifest=manifest,
        lock={} if loaded is None else _lock(loaded),
        environment=environment,
        listing=_listing(run.files),
        host=host if isinstance(host, Mapping) else {} if record is None else record.host,
        image=_image_used(report.get("image"), record),
        engine="" if state.engine is None else " ".join(filter(None, (state.engine.engine, state.engine.host))),
        version=state.version,
        metrics=_final(state),
        digests=_digests(state, record),
        series=None if over_seeds else run.metrics,
        names=() if over_seeds else tuple(state.series),
        samples=_samples(report.get("series")),
        seeds=_seeds(report.get("series")),
        places=Places.of([*folders, *([store] if store else []), *mirrors], loaded),
        code=code,
    )


def of_manifest(
    loaded: LoadedManifest, *, kind: str = "manifest", name: str = "", store: Path | None = None,
    mirrors: Sequence[Path] = (),
) -> Side:  # fmt: skip
    """Return what a manifest says; the environment and the machine are those of its record, where it has one."""
    manifest, record = loaded.manifest, loaded.record
    return Side(
        named=Named(kind, name or loaded.path.name, str(loaded.path)),
        job=pins.pinned_job(loaded),
        manifest=manifest,
        lock=_lock(loaded),
        environment=None if record is None else _summary(record.environment),
        host={} if record is None else record.host,
        image=_image_pinned(manifest),
        metrics={key_of(metric): metric.value for metric in manifest.expected.metrics},
        digests={output_name(digest): digest.sha256 for digest in manifest.expected.digests},
        places=Places.of([*([store] if store else []), *mirrors], loaded),
    )


def of_record(loaded: LoadedManifest, *, store: Path | None = None, mirrors: Sequence[Path] = ()) -> Side:
    """Return what a manifest's record says; what the manifest says where it has none."""
    record = loaded.record
    if record is None:
        return of_manifest(loaded, store=store, mirrors=mirrors)
    return Side(
        named=Named("record", f"record of {loaded.path.name}", str(loaded.path)),
        job=record.job,
        manifest=loaded.manifest,
        environment=_summary(record.environment),
        host=record.host,
        image=_image_used(None, record),
        metrics=_recorded_metrics(record),
        digests=record.digests,
        places=Places.of([*([store] if store else []), *mirrors], loaded),
    )


def manifest_of_run(run: RunDirectory) -> LoadedManifest | None:
    """Return the manifest that a run was started from, as it is now, with its record; None where it is gone."""
    path = read_json(run.options).get("manifest")
    if not isinstance(path, str) or not path or not _plain(Path(path)):
        return None
    return loading.inspect(Path(path)).loaded


# --- parts of a run ---------------------------------------------------------------------------------------------------


def _plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def _texts(value: object) -> list[str]:
    return [each for each in value if _is_text(each)] if isinstance(value, list) else []


def _copy_of_manifest(run: RunDirectory, options: Mapping[str, Any]) -> LoadedManifest | None:
    """Return the manifest that lies in the run; the files it pins lie beside the one it was copied from, if at all."""
    try:
        content = read_plain(run.manifest, loading.MAX_BYTES)
        text = content.decode()
        manifest = Manifest.model_validate(tomllib.loads(text))
        seed = options.get("seed")
        if isinstance(seed, int):
            determinism = manifest.determinism.model_copy(update={"seed": seed})
            manifest = manifest.model_copy(update={"determinism": determinism})
        origin = options.get("manifest")
        path = Path(origin) if isinstance(origin, str) and _is_text(origin) else run.manifest
        return LoadedManifest(manifest, path, text, hashlib.sha256(content).hexdigest(), None)
    except (*_UNREADABLE, ValidationError):
        return None


def _record(path: Path) -> Record | None:
    if not _plain(path):
        return None
    try:
        return read_record(path)
    except ReproError:
        return None


def _job_of_run(
    run: RunDirectory, loaded: LoadedManifest | None, record: Record | None, code: Path | None
) -> Mapping[str, Any]:
    """Return the job: as the run recorded it, else as its manifest says, else what the task was given."""
    if record is not None:
        return record.job
    if loaded is not None:
        try:
            job = pins.pinned_job(loaded)
        except (*_UNREADABLE, ValidationError):
            job = {}
        for stage in loaded.manifest.every_stage if job else ():
            if stage.task.name is None:
                continue
            task = (job["stage"][stage.name] if stage.name else job)["task"]
            task.pop("code_sha256", None)  # of this version of the tool; the run had its own
            if (files := None if code is None else plain_tree(code / stage.name)) is not None:
                task["code_sha256"] = tree_digest(files)
        if job:
            return job
    given = read_job(run)
    found: dict[str, Any] = {}
    if isinstance(given.get("hyperparameters"), Mapping):
        found["hyperparameters"] = given["hyperparameters"]
    if given.get("seed") is not None:
        data_seed = given.get("data_seed")
        found["determinism"] = {
            "seed": given["seed"], "level": given.get("level"),
            "data_seed": None if data_seed == given["seed"] else data_seed,
        }  # fmt: skip
    return found


def _summary(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a probe's summary, None where it is none; a part that is not what it should be makes it none."""
    mappings = [name for name in COMPONENTS if name != "other"]
    whole = all(isinstance(body.get(name), Mapping) for name in mappings) and isinstance(body.get("other"), str)
    packages = (package for name in ("base", "distributions") for package in (body.get(name) or {}).values())
    return body if whole and all(_is_package(package) for package in packages) else None


def _is_package(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(value.get(key), str) for key in ("version", "sha256"))


def _listing(path: Path) -> Path | None:
    return path if _plain(path) and path.stat().st_size <= _LISTING_BYTES else None


def _image_used(used: object, record: Record | None) -> Mapping[str, str]:
    if isinstance(used, Mapping):
        found = {name: str(used.get(f"{name}_digest") or "") for name in ("manifest", "config")}
    elif record is not None:
        found = {"manifest": record.image.manifest_digest, "config": record.image.config_digest}
    else:
        found = {}
    return {name: digest for name, digest in found.items() if digest}


def _image_pinned(manifest: Manifest) -> Mapping[str, str]:
    image = manifest.image
    reference = (image.reference or "").partition("@")[2]
    found = {"manifest": image.manifest_digest or reference, "config": image.config_digest or ""}
    return {name: digest for name, digest in found.items() if digest}


def _lock(loaded: LoadedManifest) -> Mapping[str, str]:
    """Return the versions in the dependency lock, where it still is the one that is pinned."""
    environment = loaded.manifest.environment
    if environment.lock is None or environment.lock_sha256 is None:
        return {}
    path = loaded.resolve(environment.lock)
    try:
        if not _plain(path) or path.stat().st_size > loading.MAX_BYTES:
            return {}
        if hashlib.sha256(path.read_bytes()).hexdigest() != environment.lock_sha256:
            return {}
        return {wheel.name: wheel.version for wheel in read_lock(path, platform=loaded.manifest.image.platform)}
    except (*_UNREADABLE, ReproError):
        return {}


def _final(state: RunState) -> Mapping[MetricKey, float]:
    return {key: metric.value for key, metric in state.metrics.items() if not key.label and metric.value is not None}


def _samples(series: object) -> Mapping[MetricKey, Sequence[float]]:
    metrics = series.get("metrics") if isinstance(series, Mapping) else None
    found: dict[MetricKey, Sequence[float]] = {}
    for metric in metrics if isinstance(metrics, list) else ():
        values = metric.get("values") if isinstance(metric, Mapping) else None
        if isinstance(values, list) and all(isinstance(value, float | int) for value in values):
            found[_key(metric)] = values
    return found


def _seeds(series: object) -> Sequence[int]:
    runs = series.get("seeds") if isinstance(series, Mapping) else None
    found = [run.get("seed") for run in runs if isinstance(run, Mapping)] if isinstance(runs, list) else []
    return [seed for seed in found if isinstance(seed, int)]


def _key(metric: Mapping[str, Any]) -> MetricKey:
    return MetricKey(str(metric.get("name")), str(metric.get("split") or "test"), stage=str(metric.get("stage") or ""))


def _recorded_metrics(record: Record) -> Mapping[MetricKey, float]:
    return {
        _key(metric): float(metric["value"])
        for metric in record.metrics
        if isinstance(metric.get("value"), int | float)
    }


def _digests(state: RunState, record: Record | None) -> Mapping[str, str]:
    if record is not None and record.digests:
        return record.digests
    return {
        check.name.removeprefix("digest "): check.observed
        for check in state.checks.values()
        if check.component == "digests" and check.observed
    }


def stages_of(job: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the stages of a job by name: of one without stages the job itself, by the empty name."""
    stages = job.get("stage")
    if not isinstance(stages, Mapping):
        return {"": job}
    return {str(name): stage for name, stage in stages.items() if isinstance(stage, Mapping)}


def builtin_code(side: Side, stage: str = "") -> Mapping[str, Path] | None:
    """Return the files of a side's built-in task that have the digest that is pinned; None where they are not here."""
    task = stages_of(side.job).get(stage, {}).get("task")
    pinned = task.get("code_sha256") if isinstance(task, Mapping) else None
    name = task.get("name") if isinstance(task, Mapping) else None
    candidates = [None if side.code is None else plain_tree(side.code / stage)]
    with suppress(KeyError):
        candidates.append(builtin_code_files(str(name)))
    return next((files for files in candidates if files is not None and tree_digest(files) == pinned), None)
