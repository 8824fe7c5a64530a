"""One metric over the seeds of a series: by the test that the manifest names, to a check like any other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from repro_tui.events import CheckResult, CheckStatus
from repro_tui.manifest.models import ExpectedMetric, Verify
from repro_tui.verify.metrics import judge, metric_check_name, tolerance_text
from repro_tui.verify.statistics import Judgement, equivalence, prediction

_STATUS = {
    "passed": CheckStatus.WITHIN_TOLERANCE,
    "failed": CheckStatus.DIFFERS,
    "undecided": CheckStatus.UNVERIFIABLE,
}


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """What became of one expected metric; `mean` and `spread` are of the values there are."""

    expected: ExpectedMetric
    values: tuple[float | None, ...]
    mean: float | None
    spread: float | None
    judgement: Judgement
    status: CheckStatus
    observed: str
    tolerance: str

    def check(self, at: float) -> CheckResult:
        """Return it as the series' check of that metric."""
        return CheckResult(
            at=at,
            name=metric_check_name(self.expected),
            component="metrics",
            status=self.status,
            expected=expected_text(self.expected, self.tolerance),
            observed=self.observed,
            tolerance=self.tolerance,
            detail=self.judgement.words,
        )


def expected_text(expected: ExpectedMetric, tolerance: str) -> str:
    """Return what is compared with: the expected value for each seed, else the mean of what was recorded."""
    if expected.samples and "every seed" not in tolerance:
        return repr(statistics.mean(expected.samples))
    return repr(expected.value)


def test_text(expected: ExpectedMetric, verify: Verify) -> str:
    """Return the rule by which a metric is judged over seeds, in words."""
    percent = f"{100 * verify.confidence:g} %"
    match verify.test:
        case "every-seed":
            return f"{tolerance_text(expected)}, every seed"
        case "prediction-interval":
            return f"mean in the {percent} prediction interval"
        case "equivalence":
            return f"means within {margin(expected, verify):.3g}, {percent}"


def margin(expected: ExpectedMetric, verify: Verify) -> float:
    """Return the largest difference that does not matter: the metric's own, the general one, else its tolerance."""
    if expected.margin is not None:
        return expected.margin
    if verify.relative_margin is not None:
        return verify.relative_margin * abs(statistics.mean(expected.samples or [expected.value]))
    return (expected.absolute or 0.0) + (expected.relative or 0.0) * abs(expected.value)


def over_seeds(expected: ExpectedMetric, values: Mapping[int, float | None], verify: Verify) -> OverSeeds:
    """Judge a metric by its value of each seed, None where the task did not report it."""
    there = [value for value in values.values() if value is not None]
    finite = len(there) > 0 and all(map(math.isfinite, there))
    mean = statistics.mean(there) if finite else None
    spread = statistics.stdev(there) if finite and len(there) > 1 else None
    observed = repr(mean) if mean is not None else ""
    tolerance = test_text(expected, verify)
    missing = [seed for seed, value in values.items() if value is None]
    odd = [seed for seed, value in values.items() if value is not None and not math.isfinite(value)]
    if odd:
        observed = repr(values[odd[0]])
        found = Judgement("failed", f"{_seeds(odd)} gave a value that is not finite, which never passes")
    elif missing or mean is None:
        found = Judgement(
            "undecided", f"the task did not report it with {_seeds(missing)}" if missing else "no seed ran"
        )
    elif verify.test == "every-seed":
        off = [seed for seed, value in values.items() if judge(expected, cast("float", value)) is CheckStatus.DIFFERS]
        if off:
            observed = repr(values[off[0]])
        words = f"{_seeds(off)} {'is' if len(off) == 1 else 'are'} out of the tolerance" if off else (
            f"all {len(values)} seeds are within the tolerance"
        )  # fmt: skip
        found = Judgement("failed" if off else "passed", words)
    else:
        test = equivalence if verify.test == "equivalence" else prediction
        found = test(
            expected.samples or [], there, confidence=verify.confidence, margin=margin(expected, verify),
            direction=expected.direction,
        )  # fmt: skip
    return OverSeeds(expected, tuple(values.values()), mean, spread, found, _STATUS[found.outcome], observed, tolerance)


def _seeds(seeds: list[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
