"""report: write report.json and report.md, and the record that an author pins. It is written however a run ended."""

from __future__ import annotations

import hashlib
import math
import time
from pathlib import Path

from repro_tui.errors import ReproError
from repro_tui.images.model import Image
from repro_tui.manifest import pins
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.manifest.record import Record, RecordedImage, write_record
from repro_tui.pipeline.context import Context, StageResult
from repro_tui.pipeline.origin import opened_folder
from repro_tui.pipeline.plan import Options
from repro_tui.report.build import build_report
from repro_tui.report.model import BundleUsed
from repro_tui.report.write import write_report
from repro_tui.verify.environment import environment_hash, hashed_part
from repro_tui.verify.metrics import claim_results
from repro_tui.verify.verdict import Decision


def run(context: Context, decision: Decision, failure: ReproError | None) -> StageResult:
    """Write what is known of the run."""
    loaded: LoadedManifest | None = getattr(context, "loaded", None)
    image: Image | None = getattr(context, "image", None)
    summary = context.summary
    manifest, bundle = _origin(context.options)
    report = build_report(
        context.state,
        decision,
        manifest=manifest,
        manifest_sha256=hashlib.sha256(context.run.manifest.read_bytes()).hexdigest(),
        out=context.run.out,
        finished_at=time.time(),
        experiment=loaded.manifest.experiment if loaded is not None else None,
        claims=claim_results(loaded.manifest.claims, context.state.metrics) if loaded is not None else (),
        image=image,
        environment_hash=environment_hash(summary) if summary is not None else None,
        host=summary.get("host") if summary is not None else None,
        failure=failure,
        series=context.series,
        bundle=bundle,
    )
    if failure is None and context.series is None:
        _write_record(context)
    write_report(context.run, report)
    return StageResult(detail=str(context.run.report_markdown))


def _origin(options: Options) -> tuple[Path, BundleUsed | None]:
    """Return how the manifest is named: one of a bundle by its place in the bundle, and the bundle."""
    path = Path(options.manifest)
    folder = opened_folder(path) if options.bundle else None
    if folder is None:
        return path, None
    return path.relative_to(folder), BundleUsed(name=options.bundle, sha256=options.bundle_sha256)


def _write_record(context: Context) -> None:
    loaded, image, summary = context.loaded, context.image, context.summary or {}
    write_record(
        context.run.record,
        Record(
            experiment=loaded.manifest.experiment.name,
            job=pins.pinned_job(loaded),
            environment=hashed_part(summary),
            image=RecordedImage(
                manifest_digest=image.manifest_digest,
                config_digest=image.config_digest,
                diff_ids=list(image.diff_ids),
            ),
            host=summary.get("host", {}),
            metrics=[
                {
                    "name": key.name,
                    "split": key.split,
                    "value": metric.value,
                    **({"stage": key.stage} if key.stage else {}),
                }
                for key, metric in context.state.metrics.items()
                if not key.label and metric.value is not None and math.isfinite(metric.value)
            ],
            digests=dict(context.digests),
            stages={each.name: each.tree_sha256 for each in context.state.task_stages.values() if each.tree_sha256},
        ),
    )
