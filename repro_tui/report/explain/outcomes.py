"""What came out on both sides, and whether seeds alone move a metric as far."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from repro_tui.errors import InfrastructureError
from repro_tui.report.explain.model import Outcome, show
from repro_tui.report.explain.sides import Side
from repro_tui.runs.state import MetricKey
from repro_tui.runs.words import printable
from repro_tui.verify import statistics
from repro_tui.verify.metrics import key_of

CONFIDENCE = 0.95


def outcomes(left: Side, right: Side) -> Iterator[Outcome]:
    """Yield the final metrics and the digests of outputs that either side has."""
    for key in sorted(left.metrics.keys() | right.metrics.keys()):
        one, other = left.metrics.get(key), right.metrics.get(key)
        label = printable(str(key))
        if one is None or other is None:
            yield Outcome(label, "" if one is None else repr(one), "" if other is None else repr(other))
        elif one == other or (math.isnan(one) and math.isnan(other)):
            yield Outcome(label, repr(one), repr(one), "0")
        else:
            within, spread = _spread(left, right, key)
            yield Outcome(label, repr(one), repr(other), f"{other - one:+.4g}", within, spread)
    for name in sorted(left.digests.keys() | right.digests.keys()):
        yield Outcome(f"bytes of {printable(name)}", show(left.digests.get(name)), show(right.digests.get(name)))


def _spread(left: Side, right: Side, key: MetricKey) -> tuple[bool | None, str]:
    samples = _samples(left, key) or _samples(right, key)
    if samples is None:
        return None, "the spread over seeds is not recorded"
    if len(samples) < 2:
        return None, "one recorded seed has no spread"
    off = abs(right.metrics[key] - left.metrics[key])
    count = len(samples)
    means = [_is_mean(side, key, samples) for side in (left, right)]
    others = [len(side.samples.get(key, ())) or 1 for side, mean in zip((left, right), means, strict=True) if not mean]
    try:
        width = statistics.half_width(samples, CONFIDENCE, others[0] if others else count)
    except InfrastructureError:
        width = max(samples) - min(samples)
        return off <= width, f"{count} recorded seeds range over {width:.3g} (SciPy would give a prediction interval)"
    if any(means):
        what = "a run is off the mean of" if max(others, default=1) == 1 else "a mean is off that of"
    else:  # two values, where half_width is of one value beside a mean
        width *= math.sqrt((1 + 1 / others[0]) / (1 / count + 1 / others[0]))
        what = "two runs differ, judged by"
    return off <= width, f"through the seed alone, {what} {count} recorded seeds, by up to {width:.3g} (95 %)"


def _is_mean(side: Side, key: MetricKey, samples: Sequence[float]) -> bool:
    """Say whether a side's value is the mean of the samples: as a manifest expects it, or a series has it."""
    mean = math.fsum(samples) / len(samples)
    return side.named.kind != "run" and math.isclose(side.metrics[key], mean, rel_tol=1e-9, abs_tol=1e-12)


def _samples(side: Side, key: MetricKey) -> Sequence[float] | None:
    found = (metric.samples for metric in side.expected if key_of(metric) == key)
    samples = next((each for each in found if each), None) or side.samples.get(key)
    return samples if samples and all(map(math.isfinite, samples)) else None
