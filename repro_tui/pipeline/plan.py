"""What a run was asked to do: its options, its stages in order, and the checks that a manifest calls for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro_tui.errors import InfrastructureError
from repro_tui.events import CheckResult, CheckStatus
from repro_tui.runs.state import of_stage

if TYPE_CHECKING:
    from repro_tui.manifest.loading import LoadedManifest
    from repro_tui.manifest.models import Artifact

STAGES = ("resolve", "image", "artifacts", "environment", "train", "evaluate", "verify", "report")
"""In the order in which they run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line said; the worker reads it from options.json in the run directory. Paths are absolute."""

    manifest: str
    experiment: str
    title: str
    engine: str | None = None
    store: str | None = None
    mirrors: tuple[str, ...] = ()
    debian_mirror: str | None = None
    offline: bool = False
    seed: int | None = None
    allow_drift: bool = False
    fresh: bool = False
    """Run every stage: none is taken from the store."""
    seeds: tuple[int, ...] = ()
    """With some it is a series: one run a seed, each in a directory of its own below this one."""
    twice: bool = False
    """Of a series: run the first seed once more, to see what comes out bit for bit."""
    jobs: int | None = None
    """Of a series: how many seeds at once; None for what the host has room for."""
    gpus: tuple[str, ...] = ()
    """Of one seed: the GPUs it gets of those that the series has."""
    bundle: str = ""
    """Name of the bundle that the manifest was opened from, if any, and the SHA-256 of that file."""
    bundle_sha256: str = ""

    def write(self, path: Path) -> None:
        """Write the options as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Options:
        """Read what `write` wrote; raises InfrastructureError for anything else."""
        try:
            body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            values: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in body.items()
            }
            return cls(**values)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InfrastructureError(f"the run's options cannot be read: {error}", where=str(path)) from None


REFERENCE_DIGEST = "image reference"
MANIFEST_DIGEST = "image manifest digest"
CONFIG_DIGEST = "image config digest"
TASK_CODE = "task code"
JOB = "job"
ENVIRONMENT = "environment hash"
"""Names of checks, as the report has them."""


def planned_checks(loaded: LoadedManifest, at: float) -> Iterator[CheckResult]:
    """Yield every check that the manifest calls for as "not run", in the order in which they will be made."""
    from repro_tui.manifest.canonical import digest
    from repro_tui.verify.metrics import digest_check_name, metric_check_name, tolerance_text

    manifest = loaded.manifest

    def planned(name: str, component: str, expected: str, tolerance: str = "") -> CheckResult:
        return CheckResult(
            at=at,
            name=name,
            component=component,
            status=CheckStatus.NOT_RUN,
            expected=expected,
            tolerance=tolerance,
        )

    for stage in manifest.every_stage:
        if stage.task.name is not None and stage.task.code_sha256 is not None:
            yield planned(of_stage(stage.name, TASK_CODE), "job", stage.task.code_sha256)
    if loaded.record is not None:
        yield planned(JOB, "job", digest(loaded.record.job))
    if manifest.image.reference is not None:
        yield planned(REFERENCE_DIGEST, "image", manifest.image.reference.partition("@")[2])
    if manifest.image.manifest_digest is not None:
        yield planned(MANIFEST_DIGEST, "image", manifest.image.manifest_digest)
    if manifest.image.config_digest is not None:
        yield planned(CONFIG_DIGEST, "image", manifest.image.config_digest)
    for artifact in manifest.artifacts:
        yield planned(artifact_check(artifact), "artifacts", pin(artifact))
    if manifest.environment.hash is not None or not manifest.image.pinned:
        yield planned(ENVIRONMENT, "environment", manifest.environment.hash or "")
    for metric in manifest.expected.metrics:
        yield planned(metric_check_name(metric), "metrics", repr(metric.value), tolerance_text(metric))
    for output in manifest.expected.digests:
        yield planned(digest_check_name(output), "digests", output.sha256, "bit for bit")


def artifact_check(artifact: Artifact) -> str:
    """Return the name of the check of an artifact."""
    return f"artifact {artifact.name}"


def pin(artifact: Artifact) -> str:
    """Return the artifact's digest: of the file, or of the tree."""
    return artifact.sha256 or artifact.tree_sha256 or ""
