"""The report of a run, schema 1 (docs/report.md). JSON, Markdown and later forms render this one model.

A number that is not finite is the string "nan", "inf" or "-inf", as in the metrics file. A later version may add keys;
one that changes or drops a key has another schema number.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from repro_tui.events import CheckStatus, StageStatus, Verdict
from repro_tui.manifest.fields import Placed

Number = Annotated[float, Field(allow_inf_nan=False)] | Literal["nan", "inf", "-inf"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True, serialize_by_alias=True)


class EngineUsed(_Part):
    """The engine that ran the containers; `host` is where it runs, `capabilities` what it could hold to."""

    name: str
    host: str
    reason: str
    capabilities: dict[str, str]


class ImageUsed(_Part):
    """Identity of the image; digests carry their `sha256:` prefix."""

    manifest_digest: str
    config_digest: str
    diff_ids: list[str]
    origin: Literal["assembled", "pulled", "built"] = "assembled"
    """Assembled from locks, pulled by digest, or built from a Dockerfile, which is not reproducible."""
    reference: str = ""
    """Of a pulled image: what it was pulled by."""
    index_digest: str = ""
    """Of the multi-platform index that the manifest was chosen from, if any."""


class Check(_Part):
    """One check. `required` false informs and does not decide."""

    name: str
    component: str
    status: CheckStatus
    expected: str = ""
    observed: str = ""
    tolerance: str = ""
    detail: str = ""
    required: bool = True


class ClaimChecked(Placed, _Part):
    """A number that a paper printed, beside the one observed; it is no part of the verdict."""

    metric: str
    split: str
    stage: str = ""
    claimed: float
    within: float
    observed: Number | None
    status: CheckStatus
    source: str
    verified: bool
    note: str = ""


class Metric(Placed, _Part):
    """The last value that the task reported of a metric; null where it was no number."""

    name: str
    split: str
    stage: str = ""
    value: Number | None
    label: str | None = Field(default=None, alias="class")
    step: int | None = None


class TableReported(_Part):
    """A table that the task wrote (a confusion matrix, scores by class)."""

    name: str
    columns: list[str]
    rows: list[list[Any]]


class OutputFile(_Part):
    """A file that the task wrote below `out`; `sha256` and `bytes` as the host read them, null where it could not."""

    name: str
    path: str
    sha256: str | None
    bytes: int | None


class ExperimentNamed(_Part):
    """What was reproduced."""

    name: str
    title: str
    paper: dict[str, str] | None = None


class ManifestUsed(_Part):
    """The manifest, by the bytes it had."""

    path: str
    sha256: str


class BundleUsed(_Part):
    """The bundle that a manifest came in; the manifest's path is that in the bundle then."""

    name: str
    sha256: str


class RunIdentity(_Part):
    """The run; times are UTC, RFC 3339."""

    id: str
    started: str | None
    finished: str | None
    version: str
    """Of repro-tui."""


class Failure(_Part):
    """Why a run did not come to its end."""

    message: str
    where: str
    hint: str
    stage: str


class StageReported(_Part):
    """One of the manifest's stages that ended well: digests of all it depended on, and of the folder it handed on."""

    name: str
    status: StageStatus
    key: str
    tree_sha256: str
    run: str = ""
    """Of a stage that was taken from the store: the run that made it."""
    elapsed_s: float = 0.0
    """Seconds that it took, in that run."""


class SeedReported(_Part):
    """One seed of a series; `run` is its run directory below that of the series."""

    seed: int
    run: str
    verdict: Verdict | None
    """Null for one that has none: it did not begin, or died."""
    summary: str = ""
    kept: bool = False
    """Whether it is of an earlier attempt: the series was resumed."""


class MetricOverSeeds(Placed, _Part):
    """A metric over the seeds; values are in the order of the seeds, null where there is none."""

    name: str
    split: str
    stage: str = ""
    values: list[Number | None]
    mean: Number | None
    spread: Number | None
    """Standard deviation of the values; null for fewer than two."""
    recorded: list[float]
    """The recorded values that it was compared with, one a seed."""
    status: CheckStatus
    decision: str
    """The reason in one sentence."""
    statistic: float | None = None
    degrees: float | None = None
    """Degrees of freedom of the statistic."""
    interval: list[Number] | None = None
    """For the mean (prediction interval), or the difference of the means (equivalence)."""
    p_values: list[float] = []
    power: float | None = None
    margin: float | None = None


class SeriesReported(_Part):
    """Runs over several seeds, and the test that decided."""

    test: Literal["every-seed", "prediction-interval", "equivalence"]
    confidence: float
    at_once: int
    """How many seeds ran at the same time, at most."""
    seeds: list[SeedReported]
    metrics: list[MetricOverSeeds]


class Report(_Part):
    """A whole report."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    verdict: Verdict
    exit_code: int
    summary: str
    experiment: ExperimentNamed
    manifest: ManifestUsed
    run: RunIdentity
    engine: EngineUsed | None
    image: ImageUsed | None
    environment_hash: str | None
    checks: list[Check]
    claims: list[ClaimChecked]
    metrics: list[Metric]
    tables: list[TableReported]
    outputs: list[OutputFile]
    timings_s: dict[str, float]
    """Seconds by stage, in the order in which the stages ran."""
    host: dict[str, Any]
    """What the probe saw of the machine: recorded, no part of the verdict."""
    failure: Failure | None
    series: SeriesReported | None = None
    """Of a series over several seeds; null for one run."""
    bundle: BundleUsed | None = None
    """What the manifest came in; null for one by itself."""
    stages: list[StageReported] = []
    """The manifest's stages in their order; none where it has one task."""


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema of a report (report.schema.json holds it)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "repro-tui report, schema 1",
        **Report.model_json_schema(by_alias=True, mode="serialization"),
    }
