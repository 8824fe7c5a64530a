"""From what a run left to its report."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from repro_tui.errors import ReproError
from repro_tui.images.model import Image
from repro_tui.manifest.models import Experiment
from repro_tui.report.model import (
    BundleUsed,
    Check,
    ClaimChecked,
    EngineUsed,
    ExperimentNamed,
    Failure,
    ImageUsed,
    ManifestUsed,
    Metric,
    OutputFile,
    Report,
    RunIdentity,
    SeriesReported,
    StageReported,
    TableReported,
)
from repro_tui.runs.state import Output, RunState
from repro_tui.verify.metrics import ClaimResult, open_output
from repro_tui.verify.verdict import Decision


def build_report(
    state: RunState,
    decision: Decision,
    *,
    manifest: Path,
    manifest_sha256: str,
    out: Path,
    finished_at: float,
    experiment: Experiment | None = None,
    claims: Sequence[ClaimResult] = (),
    image: Image | None = None,
    environment_hash: str | None = None,
    host: Mapping[str, Any] | None = None,
    failure: ReproError | None = None,
    series: SeriesReported | None = None,
    bundle: BundleUsed | None = None,
) -> Report:
    """Return the report of a run. `out` is the host's folder that the container saw as /out.

    Checks, metrics, timings and the rest are the state's; a failure is placed in the stage that did not end well.
    """
    engine = state.engine
    places = list(dict.fromkeys(key.stage for key in state.metrics))
    return Report(
        verdict=decision.verdict,
        exit_code=int(decision.exit_code),
        summary=decision.summary,
        experiment=_experiment(state, experiment),
        manifest=ManifestUsed(path=str(manifest), sha256=manifest_sha256),
        run=RunIdentity(
            id=state.run_id, started=_time(state.started_at), finished=_time(finished_at), version=state.version
        ),
        engine=engine
        and EngineUsed(
            name=engine.engine, host=engine.host, reason=engine.reason, capabilities=dict(engine.capabilities)
        ),
        image=image
        and ImageUsed(
            manifest_digest=image.manifest_digest,
            config_digest=image.config_digest,
            diff_ids=list(image.diff_ids),
            origin=image.origin,
            reference=image.reference,
            index_digest=image.index_digest,
        ),
        environment_hash=environment_hash,
        checks=[
            Check.model_validate({name: getattr(check, name) for name in Check.model_fields})
            for check in state.checks.values()
        ],
        claims=[_claim(each) for each in claims],
        metrics=[
            Metric(
                name=key.name,
                split=key.split,
                stage=key.stage,
                label=key.label or None,
                value=number(metric.value),
                step=metric.step,
            )
            for key, metric in sorted(state.metrics.items(), key=lambda item: (places.index(item[0].stage), item[0]))
        ],
        tables=[
            TableReported(
                name=name, columns=list(table.columns), rows=[[_plain(cell) for cell in row] for row in table.rows]
            )
            for name, table in state.tables.items()
        ],
        outputs=[_output(name, output, out) for name, output in state.outputs.items()],
        timings_s={name: round(elapsed_s, 3) for name, elapsed_s in state.timings_s.items()},
        host=dict(host or {}),
        failure=failure and _failure(failure, state),
        stages=[
            StageReported(
                name=each.name,
                status=each.status,
                key=each.key,
                tree_sha256=each.tree_sha256,
                run=each.run,
                elapsed_s=each.elapsed_s,
            )
            for each in state.task_stages.values()
            if each.status is not None
        ],
        series=series,
        bundle=bundle,
    )


def _experiment(state: RunState, experiment: Experiment | None) -> ExperimentNamed:
    if experiment is None:
        return ExperimentNamed(name=state.experiment, title=state.title)
    paper = experiment.paper
    return ExperimentNamed(
        name=experiment.name, title=experiment.title, paper=paper and paper.model_dump(exclude_none=True)
    )


def _claim(result: ClaimResult) -> ClaimChecked:
    claim = result.claim
    return ClaimChecked(
        metric=claim.metric,
        split=claim.split,
        stage=claim.stage or "",
        claimed=claim.value,
        within=claim.within,
        observed=number(result.observed),
        status=result.status,
        source=claim.source,
        verified=claim.verified,
        note=claim.note,
    )


def _output(name: str, output: Output, out: Path) -> OutputFile:
    try:
        with open_output(out, output.path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return OutputFile(name=name, path=output.path, sha256=digest, bytes=file.tell())
    except (ValueError, OSError):
        return OutputFile(name=name, path=output.path, sha256=None, bytes=None)


def _failure(failure: ReproError, state: RunState) -> Failure:
    stage = next((stage.name for stage in state.stages.values() if stage.running), "")
    ended = [stage.name for stage in state.stages.values() if stage.status in {"failed", "cancelled"}]
    return Failure(message=failure.message, where=failure.where, hint=failure.hint, stage=ended[-1] if ended else stage)


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def number(value: float | None) -> float | Literal["nan", "inf", "-inf"] | None:
    """Return a number as reports have it: one that is not finite is text."""
    if value is None or math.isfinite(value):
        return value
    return cast("Literal['nan', 'inf', '-inf']", str(value))


def _plain(value: Any) -> Any:
    """Return a JSON value in which every number is finite or a string."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
