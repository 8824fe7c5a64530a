"""verify: compare what came out with what was recorded: metrics within their tolerance, outputs bit for bit."""

from __future__ import annotations

import time
from contextlib import suppress

from repro_tui.events import CheckStatus
from repro_tui.pipeline.context import Context, StageResult
from repro_tui.verify.metrics import digest_checks, hash_output, metric_checks


def run(context: Context) -> StageResult:
    """Check every expected metric and digest; a difference is a result, not an error of this stage."""
    expected = context.loaded.manifest.expected
    state = context.state
    vendor = (context.summary or {}).get("host", {}).get("cpu_vendor")
    checks = [
        *metric_checks(expected.metrics, state.metrics, at=time.time()),
        *digest_checks(expected.digests, state.outputs, context.run.out, cpu_vendor=vendor, at=time.time()),
    ]
    for check in checks:
        context.record(check)
    known = {check.name: check.observed for check in checks}
    for name, output in state.outputs.items():
        with suppress(ValueError):  # what cannot be read is a check's to say, where there is one
            context.digests[name] = known.get(f"digest {name}") or hash_output(context.run.out, output.path)
    passed = sum(check.status in {CheckStatus.MATCH, CheckStatus.WITHIN_TOLERANCE} for check in checks)
    return StageResult(detail=f"{passed} of {len(checks)} checks hold")
