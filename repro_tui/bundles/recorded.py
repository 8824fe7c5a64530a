"""The recorded run in a bundle: what of a run directory is shared, without what it tells of the author's machine.

Paths outside of the container, addresses of remote engines and the worker's own log stay at home. What goes in is made
from the run directory alone, so the same run gives the same bytes wherever it is packed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from repro_tui.errors import ReproError, UsageError
from repro_tui.events import CheckStatus
from repro_tui.files import open_plain, read_plain
from repro_tui.manifest import pins
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.manifest.record import Record, read_record
from repro_tui.pipeline.stages.resolve import with_seed
from repro_tui.report import json as report_json
from repro_tui.report import markdown
from repro_tui.report.model import Report, SeedReported
from repro_tui.runs.catalog import list_runs
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.reader import read_state

LOG_BYTES = 1 << 20
"""Of a longer log the beginning and the end are kept."""
MAX_METRICS_BYTES = 64 << 20
"""Of a longer metrics file the steps are left out."""
_LEAST_METRICS_BYTES = 1 << 20
MAX_READ_BYTES = 256 << 20
_HEAD_BYTES = LOG_BYTES // 4

_AGAIN = ".again"
_SEED = re.compile(r"seeds/[0-9]{1,10}(?:\.again)?")
_PRIVATE_LOGS = {"worker"}
_PATH = re.compile(r"(?<![\w./:~-])(?:/[^\s/\"'`,;:()\[\]{}<>|\\]+)+/?")
_ADDRESS = re.compile(r"\b(?:ssh|tcp|unix|npipe|fd|https?)://[^\s\"',;()\[\]]+")
_HOME = re.compile(r"(?<![\w.-])/(?:home|Users|export/home)/[^\s/\"'`,;:()\[\]]+|(?<![\w./-])/root(?=/|\b)")
_KEPT = {
    "inputs", "out", "code", "job", "usr", "bin", "sbin", "lib", "lib64", "etc", "proc", "sys", "dev", "opt",
}  # fmt: skip
"""First parts of paths that say nothing of a person: those of the container, and of any Linux."""


def choose_run(runs: Path, loaded: LoadedManifest) -> RunDirectory | None:
    """Return the newest run of a manifest that reproduced it, else the newest that ended otherwise, else None."""
    found: list[tuple[RunDirectory, Report]] = []
    for entry in list_runs(runs):
        try:
            report = report_json.read(entry.run.report)
        except ReproError:
            continue
        if mismatch(loaded, report, _record(entry.run)) is None:
            found.append((entry.run, report))
    return next((run for run, report in found if report.exit_code == 0), found[0][0] if found else None)


def mismatch(loaded: LoadedManifest, report: Report, record: Record | None) -> str | None:
    """Say why a run is not one of the manifest; None where it is: by the manifest's digest, or by the same job.

    Expected values are written into a manifest after the run that they come from: its digest is another then, and the
    job is the same.
    """
    if report.manifest.sha256 == loaded.sha256:
        return None
    if record is None:
        return f"the report is of a manifest with SHA-256 {report.manifest.sha256}, and no record says what job it ran"
    different = pins.differences(pins.pinned_job(loaded), record.job)
    if record.experiment != loaded.manifest.experiment.name or different:
        path = different[0][0] if different else "experiment.name"
        return f"the run is of another manifest, whose {path} is another"
    return None


def shared_files(run: RunDirectory, loaded: LoadedManifest) -> tuple[dict[str, bytes], Report]:
    """Return what of a run goes into a bundle, by its path there, and its report as it is there.

    Raises UsageError for a run that has not ended, or is one of another manifest.
    """
    try:
        report = report_json.read(run.report)
    except ReproError as error:
        raise UsageError(
            f"the run {run.id} has no report: {error.message}", where=str(run.path), hint="name one that has ended"
        ) from None
    record = _record(run)
    if (why := mismatch(loaded, report, record)) is not None:
        raise UsageError(
            f"the run {run.id} is not of this manifest: {why}", where=str(run.path),
            hint="name a run of it with --run, or run it: repro-tui run MANIFEST",
        )  # fmt: skip
    seeds = _seeds(run, report)
    clean = _Cleaner(report)
    cleaned = clean.report(report)
    files = _whole(run, cleaned, clean, metrics_bytes=MAX_METRICS_BYTES)
    files["report.md"] = markdown.render(cleaned).encode(errors="backslashreplace")
    for log in sorted(run.logs.glob("*.log")):
        if log.stem not in _PRIVATE_LOGS and re.fullmatch("[a-z]{1,32}", log.stem) and _is_plain(log):
            files[f"logs/{log.name}"] = clean.text(_bounded(log).decode(errors="replace")).encode()
    for told, seed in seeds:
        of_seed = _report_of_seed(seed, with_seed(loaded, told.seed, of_series=True))
        metrics_bytes = max(MAX_METRICS_BYTES // len(seeds), _LEAST_METRICS_BYTES)
        found = _whole(seed, clean.report(of_seed), clean, metrics_bytes=metrics_bytes)
        files |= {f"{told.run}/{name}": content for name, content in found.items()}
    return {f"run/{path}": content for path, content in files.items() if content}, cleaned


def _whole(run: RunDirectory, report: Report, clean: _Cleaner, *, metrics_bytes: int) -> dict[str, bytes]:
    """Return the files that a run is judged by, by their path in the run directory; nothing of what it has not."""
    return {
        "report.json": report_json.render(report).encode(),
        "events.jsonl": b"".join(_events(run, clean)),
        "out/metrics.jsonl": _metrics(run, metrics_bytes),
        "manifest.toml": _read(run.manifest),
        "record.json": b"" if _record(run) is None else _read(run.record),
        "environment.json": _read(run.environment) if _is_plain(run.environment) else b"",
    }


def _seeds(run: RunDirectory, report: Report) -> list[tuple[SeedReported, RunDirectory]]:
    """Return the seeds of a series that have a report; a run by itself has none."""
    told = report.series.seeds if report.series is not None else []
    found = [(each, RunDirectory(run.path / each.run)) for each in told if _SEED.fullmatch(each.run)]
    return [(each, seed) for each, seed in found if _is_plain(seed.report)]


def _report_of_seed(seed: RunDirectory, loaded: LoadedManifest) -> Report:
    try:
        report = report_json.read(seed.report)
    except ReproError as error:
        raise UsageError(error.message, where=str(seed.path), hint="name another run with --run") from None
    if (why := mismatch(loaded, report, _record(seed))) is not None:
        raise UsageError(f"{seed.id} is not of this manifest: {why}", where=str(seed.path), hint="name another run")
    return report


def inconsistency(run: RunDirectory, loaded: LoadedManifest) -> tuple[str, str] | None:
    """Return (file, what is wrong) where the files of a shared run contradict each other or the manifest.

    A report that somebody put in the place of the run's own says another verdict or other checks than the journal. Of a
    series each seed is looked at in the same way, and the report of the series must say what theirs say.
    """
    fault = _contradiction(run, loaded)
    if fault is not None:
        return f"run/{fault[0]}", fault[1]
    whole = report_json.read(run.report)
    seeds = _seeds(run, whole)
    lying = {path.name for path in run.seeds.iterdir()} if run.seeds.is_dir() else set()
    if unknown := lying - {seed.path.name for _, seed in seeds}:
        return f"run/seeds/{min(unknown)}", "it has no report, or the report of the series does not know it"
    for told, seed in seeds:
        fault = _contradiction(seed, with_seed(loaded, told.seed, of_series=True))
        if fault is not None:
            return f"run/{told.run}/{fault[0]}", fault[1]
        own = report_json.read(seed.report)
        if (own.verdict, own.summary) != (told.verdict, told.summary):
            return "run/report.json", f"what it says of seed {seed.path.name} is not what that one's own report says"
        if (name := _other_value(whole, told, own)) is not None:
            return "run/report.json", f"its {name} of seed {seed.path.name} is another than that one's own report has"
    return None


def _other_value(whole: Report, told: SeedReported, own: Report) -> str | None:
    """Return the name of a metric of which a series' report has another value for a seed than the seed's own report."""
    if whole.series is None or told.run.endswith(_AGAIN):
        return None
    sample = [each.run for each in whole.series.seeds if not each.run.endswith(_AGAIN)]
    place = sample.index(told.run)
    values = {(metric.name, metric.place): metric.value for metric in own.metrics if metric.label is None}
    return next(
        (
            f"{metric.place}/{metric.name}"
            for metric in whole.series.metrics
            if metric.values[place : place + 1] != [values.get((metric.name, metric.place))]
        ),
        None,
    )


def _contradiction(run: RunDirectory, loaded: LoadedManifest) -> tuple[str, str] | None:
    try:
        report = report_json.read(run.report)
    except ReproError as error:
        return "report.json", error.message
    record: Record | None = None
    if run.record.is_file():
        try:
            record = read_record(run.record)
        except ReproError as error:
            return "record.json", error.message
    if (why := mismatch(loaded, report, record)) is not None:
        return "report.json", why
    state = read_state(run)
    if state.verdict is None or state.run_id != report.run.id:
        return "report.json", f"it is of the run {report.run.id}, the events are of {state.run_id or 'none'}"
    told = (report.verdict, report.exit_code, report.summary)
    if told != (state.verdict, state.exit_code, state.summary):
        return "report.json", f"it says {report.verdict.value}, the events of the run say {state.verdict.value}"
    for check in report.checks:
        known = state.checks.get(check.name)
        if known is None or (check.status, check.expected, check.observed) != (
            known.status, known.expected, known.observed,
        ):  # fmt: skip
            status = CheckStatus.NOT_RUN if known is None else known.status
            return "report.json", f"its check {check.name!r} says {check.status.value}, the events {status.value}"
    if record is None:
        return None
    if report.environment_hash and pins.digest(record.environment) != report.environment_hash:
        return "record.json", "its environment has another hash than the report says"
    if report.image and record.image.manifest_digest != report.image.manifest_digest:
        return "record.json", "its image is another than the report says"
    return None


class _Cleaner:
    """Takes out of text what it says of the machine that a run was made on."""

    def __init__(self, report: Report) -> None:
        host = report.engine.host if report.engine else ""
        self._host = host if host not in {"", "local"} else None

    def report(self, report: Report) -> Report:
        """Return a report without the paths and addresses of its machine."""
        return Report.model_validate(self.value(json.loads(report_json.render(report))))

    def value(self, value: Any) -> Any:
        """Return a JSON value, every text in it cleaned."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if isinstance(value, dict):
            return {key: self.value(each) for key, each in value.items()}
        return value

    def text(self, text: str) -> str:
        """Return a text, cleaned."""
        if self._host:
            text = text.replace(self._host, "<host>")
        text = _ADDRESS.sub("<address>", text)
        return _PATH.sub(_shortened, _HOME.sub("~", text))


def _shortened(found: re.Match[str]) -> str:
    """Return a path by its last part, one of the container's or of any system as it is."""
    parts = [part for part in found[0].split("/") if part]
    return found[0] if not parts or parts[0] in _KEPT or len(parts) == 1 else f"…/{parts[-1]}"


def _events(run: RunDirectory, clean: _Cleaner) -> Iterator[bytes]:
    for line in _read(run.events).split(b"\n")[:-1]:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and event.get("kind") not in {"stage_progress", "resources"}:
            event.pop("pid", None) if event.get("kind") != "run_started" else event.update(pid=0)
            yield json.dumps(clean.value(event), ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


def _metrics(run: RunDirectory, limit_bytes: int) -> bytes:
    if not _is_plain(run.metrics):  # the task writes there, and may have put a link to any file of the author's
        return b""
    content = _read(run.metrics)
    if len(content) <= limit_bytes:
        return content
    return b"".join(line + b"\n" for line in content.split(b"\n") if line and b'"step"' not in line)


def _bounded(log: Path) -> bytes:
    """Return a log, of a long one its beginning and its end."""
    with open_plain(log) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= LOG_BYTES:
            return file.read(LOG_BYTES)
        head = file.read(_HEAD_BYTES)
        file.seek(size - (LOG_BYTES - _HEAD_BYTES))
        return head + f"\n… {size - LOG_BYTES} bytes are left out …\n".encode() + file.read(LOG_BYTES - _HEAD_BYTES)


def _read(path: Path) -> bytes:
    try:
        return read_plain(path, MAX_READ_BYTES)
    except OSError as error:
        raise UsageError(
            f"{path.name} of the run cannot be packed: {error.strerror}", where=str(path), hint="name another run"
        ) from None


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _record(run: RunDirectory) -> Record | None:
    try:
        return read_record(run.record)
    except ReproError:
        return None
