"""What an author pastes into a manifest after the first whole run: its record as TOML pins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from repro_tui.artifacts.digests import sha256_file
from repro_tui.manifest.canonical import digest
from repro_tui.manifest.record import Record, parted, read_record


def render(path: Path) -> str:
    """Return the pins in a record.json, table by table; raises ManifestError for a file that is no record."""
    return "\n".join(_lines(read_record(path), path)) + "\n"


def _lines(record: Record, path: Path) -> Iterator[str]:
    yield "[image]"
    yield f'manifest_digest = "{record.image.manifest_digest}"'
    yield f'config_digest = "{record.image.config_digest}"'
    yield ""
    yield "[environment]"
    yield f'hash = "{digest(record.environment)}"'
    code = record.job.get("task", {}).get("code_sha256")
    if code:
        yield ""
        yield "[task]"
        yield f'code_sha256 = "{code}"'
    for stage, job in record.job.get("stage", {}).items():
        if code := job.get("task", {}).get("code_sha256"):
            yield ""
            yield f"# of the stage {stage}, below its [stage.task]"
            yield f'code_sha256 = "{code}"'
    for metric in record.metrics:
        yield ""
        yield "[[expected.metrics]]"
        yield f"name = {json.dumps(metric['name'])}"
        if stage := metric.get("stage"):
            yield f"stage = {json.dumps(stage)}"
        yield f"split = {json.dumps(metric['split'])}"
        yield f"value = {metric['value']!r}"
        yield "absolute = 0.0  # equality; widen it to what the metric moves between seeds and machines"
    for output, sha256 in sorted(record.digests.items()):
        yield ""
        yield "[[expected.digests]]"
        stage, name = parted(output, record)
        yield f"name = {json.dumps(name)}"
        if stage:
            yield f"stage = {json.dumps(stage)}"
        yield f'sha256 = "{sha256}"'
        if vendor := record.host.get("cpu_vendor"):
            yield f"cpu_vendor = {json.dumps(vendor)}"
    yield ""
    yield "[recorded]"
    yield f'file = "{record.experiment}.record.json"  # a copy of {path.name}, beside the manifest'
    yield f'sha256 = "{sha256_file(path)}"'
