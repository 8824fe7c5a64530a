"""artifacts: fetch and check data, weights and code; begun beside the image, which keeps other parts busy."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.errors import DigestMismatchError
from repro_tui.events import CheckResult, CheckStatus
from repro_tui.manifest.models import Artifact
from repro_tui.pipeline import containers
from repro_tui.pipeline.context import Context, StageResult
from repro_tui.pipeline.plan import artifact_check, pin

STAGE = "artifacts"


def fetcher(context: Context, progress: Callable[[int, int, str], None]) -> Fetcher:
    """Return what fetches for this run, as its options say."""
    options = context.options
    return Fetcher(
        context.store,
        mirrors(context),
        base=Path(options.manifest).parent,
        offline=options.offline,
        debian_mirror=options.debian_mirror,
        runs=(context.run.series or context.run).path.parent,
        local=not options.bundle,
        notify=lambda text: context.notice("warning", text),
        progress=progress,
    )


def mirrors(context: Context) -> list[Path]:
    """Return the mirror folders of this run."""
    return [Path(mirror) for mirror in context.options.mirrors]


class Fetching:
    """Fetches a run's artifacts one after the other in a thread of its own."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._fetcher = fetcher(context, context.progress("bytes", stage=STAGE))
        context.cleanup.callback(self._fetcher.stop)
        self._results: queue.SimpleQueue[tuple[Artifact, Path | Exception]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="fetch artifacts", daemon=True).start()

    def next(self) -> tuple[Artifact, Path]:
        """Wait for the next artifact and return it; raises what kept it from being fetched."""
        artifact, found = self._results.get()
        if isinstance(found, DigestMismatchError):
            self._context.record(_differs(artifact, found))
        if isinstance(found, Exception):
            raise found
        return artifact, found

    def _work(self) -> None:
        for artifact in self._context.loaded.manifest.artifacts:
            try:
                self._results.put((artifact, self._fetcher.artifact(artifact)))
            except Exception as error:
                self._results.put((artifact, error))
                return


def run(context: Context) -> StageResult:
    """Leave every artifact in `context.artifacts`, its bytes checked, and what the containers read in place."""
    total = 0
    for _ in context.loaded.manifest.artifacts:
        artifact, path = context.fetching.next()
        context.artifacts[artifact.name] = path
        total += artifact.bytes
        context.compare(artifact_check(artifact), "artifacts", expected=pin(artifact), observed=pin(artifact))
    containers.stage_files(context)
    count = len(context.artifacts)
    return StageResult(detail=f"{count} {'artifact' if count == 1 else 'artifacts'}, {total / 1e6:.1f} MB")


def _differs(artifact: Artifact, error: DigestMismatchError) -> CheckResult:
    return CheckResult(
        at=time.time(),
        name=artifact_check(artifact),
        component="artifacts",
        status=CheckStatus.DIFFERS,
        expected=error.expected,
        observed=error.observed,
        detail=" ".join(part for part in (error.message, f"({error.where})" if error.where else "") if part),
    )
