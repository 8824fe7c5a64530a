"""Tests over the values of several seeds. SciPy gives the distributions and is imported where they are needed only.

Values are in the metric's own unit. `recorded` are the n values of the manifest, `observed` the m of this series; both
are taken as independent draws of a normal distribution, which is what a metric's values over seeds mostly resemble.
"""

from __future__ import annotations

import importlib
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from repro_tui.errors import InfrastructureError

ENOUGH_POWER = 0.8
"""With less, a test that did not decide says nothing: the usual convention (Cohen 1988, Statistical Power Analysis)."""

Direction = Literal["two-sided", "at-least", "at-most"]
Outcome = Literal["passed", "failed", "undecided"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a test said: `words` is the reason in one sentence; what a test does not have is None."""

    outcome: Outcome
    words: str
    statistic: float | None = None
    degrees: float | None = None
    """Degrees of freedom of the statistic."""
    interval: tuple[float, float] | None = None
    """For the mean (prediction interval), or for the difference of the means (equivalence); a side may be infinite."""
    p_values: tuple[float, ...] = ()
    power: float | None = None
    margin: float | None = None


def half_width(recorded: Sequence[float], confidence: float, future: int = 1) -> float:
    """Return the half-width of the prediction interval for the mean of `future` further values.

    t(1 - a/2; n - 1) · s · sqrt(1/n + 1/future), a = 1 - confidence: G. J. Hahn and W. Q. Meeker, Statistical Intervals
    (Wiley 1991), section 4.7; for one further value also Devore, Probability and Statistics, section 7.3. Raises
    ValueError for fewer than two values, whose spread is not known.
    """
    spread = statistics.stdev(recorded) if len(recorded) > 1 else None
    if spread is None:
        raise ValueError("a prediction interval needs two recorded values at least")
    if spread == 0:
        return 0.0
    quantile = float(_distributions().t.ppf((1 + confidence) / 2, len(recorded) - 1))
    return quantile * spread * math.sqrt(1 / len(recorded) + 1 / future)


def prediction(
    recorded: Sequence[float],
    observed: Sequence[float],
    *,
    confidence: float,
    margin: float,
    direction: Direction = "two-sided",
) -> Judgement:
    """Say whether the mean of the observed values lies in the prediction interval for it.

    Its power is the probability that a mean which is really off by `margin` falls outside: the statistic then has the
    noncentral t distribution with n - 1 degrees of freedom and noncentrality margin / (s · sqrt(1/n + 1/m)). Inside the
    interval with less than ENOUGH_POWER nothing is decided: so wide an interval holds nearly anything. With a direction
    the interval is open on the side that does not matter, and all of the error is on the other.
    """
    wrong = _too_few(recorded, observed, needed=1)
    if wrong:
        return Judgement("undecided", wrong, margin=margin)
    n, m = len(recorded), len(observed)
    mean, seen = statistics.mean(recorded), statistics.mean(observed)
    spread = statistics.stdev(recorded)
    if spread == 0:
        same = _on_the_right_side(seen - mean, 0.0, direction)
        said = "the recorded seeds all gave the same value, and so did these" if seen == mean else (
            f"the recorded seeds all gave {mean!r}, the mean of these is {seen!r}"
        )  # fmt: skip
        return Judgement("passed" if same else "failed", said, interval=(mean, mean), margin=margin)
    scipy = _distributions()
    error = spread * math.sqrt(1 / n + 1 / m)
    one_sided = direction != "two-sided"
    quantile = float(scipy.t.ppf(confidence if one_sided else (1 + confidence) / 2, n - 1))
    shift = margin / error
    power = _tail(scipy, quantile, n - 1, shift)
    if not one_sided:
        power += _tail(scipy, quantile, n - 1, -shift)
    low = -math.inf if direction == "at-most" else mean - quantile * error
    high = math.inf if direction == "at-least" else mean + quantile * error
    statistic = (seen - mean) / error
    words = f"the mean {seen:.6g} is {'inside' if low <= seen <= high else 'outside'} the prediction interval"
    found = Judgement("passed", words, statistic, float(n - 1), (low, high), (), power, margin)
    if not low <= seen <= high:
        return replace(found, outcome="failed")
    if power < ENOUGH_POWER:
        weak = f"a mean off by {margin:.3g} would be noticed with a probability of {power:.2f} only"
        return replace(found, outcome="undecided", words=f"{words}, but {weak}: more seeds are needed")
    return found


def equivalence(
    recorded: Sequence[float],
    observed: Sequence[float],
    *,
    confidence: float,
    margin: float,
    direction: Direction = "two-sided",
) -> Judgement:
    """Say whether the two means differ by less than `margin`: two one-sided tests at level 1 - confidence.

    D. J. Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15 (1987) 657-680, with Welch's standard error
    and degrees of freedom, since the spreads need not be equal. Equivalent where both tests reject; different where
    the interval of confidence 2 · confidence - 1 lies wholly beyond a margin; else it depends on the power. With a
    direction only the one test is made that matters (non-inferiority).
    """
    wrong = _too_few(recorded, observed, needed=2)
    if wrong:
        return Judgement("undecided", wrong, margin=margin)
    n, m = len(recorded), len(observed)
    off = statistics.mean(observed) - statistics.mean(recorded)
    parts = statistics.variance(recorded) / n, statistics.variance(observed) / m
    error = math.sqrt(sum(parts))
    if error == 0:
        same = _on_the_right_side(off, margin, direction)
        words = f"neither these nor the recorded seeds differ among themselves; the means are {abs(off):.3g} apart"
        return Judgement("passed" if same else "failed", words, interval=(off, off), margin=margin)
    degrees = sum(parts) ** 2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1))
    scipy = _distributions()
    above, below = (off + margin) / error, (off - margin) / error
    p_above, p_below = float(scipy.t.sf(above, degrees)), float(scipy.t.cdf(below, degrees))
    chosen = {"two-sided": (p_above, p_below), "at-least": (p_above,), "at-most": (p_below,)}[direction]
    quantile = float(scipy.t.ppf(confidence, degrees))
    low, high = off - quantile * error, off + quantile * error
    statistic = below if direction == "at-most" or (direction == "two-sided" and p_below > p_above) else above
    power = equivalence_power(error, degrees, confidence=confidence, margin=margin, two_sided=direction == "two-sided")
    found = Judgement("passed", "", statistic, degrees, (low, high), chosen, power, margin)
    if max(chosen) < 1 - confidence:
        return replace(found, words=f"the means differ by less than the margin {margin:.3g}")
    if (direction != "at-most" and high < -margin) or (direction != "at-least" and low > margin):
        return replace(found, outcome="failed", words=f"the means differ by more than the margin {margin:.3g}")
    words = f"equivalence within {margin:.3g} was not shown, with a power of {power:.2f} to show it"
    if power < ENOUGH_POWER:
        return replace(found, outcome="undecided", words=f"{words}: more seeds are needed")
    return replace(found, outcome="failed", words=words)


def equivalence_power(
    error: float, degrees: float, *, confidence: float, margin: float, two_sided: bool = True
) -> float:
    """Return the probability that the tests show equivalence where the means are really the same.

    `error` is the standard error of the difference of the means. Two-sided it is the integral over the estimated spread
    of P(|difference| < margin - t · spread), the form of Owen's Q given by K. F. Phillips, Journal of Pharmacokinetics
    and Biopharmaceutics 18 (1990) 137-144: exact where the spreads are equal, with Welch's degrees of freedom an
    approximation. One-sided it is a tail of the noncentral t distribution.
    """
    scipy = _distributions()
    quantile = float(scipy.t.ppf(confidence, degrees))
    shift = margin / error
    if not two_sided:
        return _tail(scipy, quantile, degrees, shift)
    constant = math.log(2) + degrees / 2 * math.log(degrees / 2) - math.lgamma(degrees / 2)

    def shown(ratio: float) -> float:
        """Density of the spread estimated over the spread (a scaled chi), times what is then shown."""
        inside = math.erf((shift - quantile * ratio) / math.sqrt(2))
        return inside * math.exp(constant + (degrees - 1) * math.log(ratio) - degrees / 2 * ratio**2) if ratio else 0.0

    spread = 8 / math.sqrt(2 * degrees)  # so many standard deviations of the ratio from 1 there is nothing any more
    low, high = max(0.0, 1 - spread), min(shift / quantile, 1 + spread)
    integrate = importlib.import_module("scipy.integrate")
    return min(1.0, float(integrate.quad(shown, low, high, limit=200)[0])) if high > low else 0.0


def _too_few(recorded: Sequence[float], observed: Sequence[float], *, needed: int) -> str:
    if len(recorded) < 2:
        return f"{len(recorded)} recorded value{'s' if len(recorded) != 1 else ''}: a spread needs two at least"
    if len(observed) < needed:
        return f"{len(observed)} seed{'s' if len(observed) != 1 else ''}: this test needs {needed} at least"
    if not all(map(math.isfinite, observed)):
        return "a value is not finite"
    return ""


def _on_the_right_side(off: float, margin: float, direction: Direction) -> bool:
    return (direction == "at-most" or off >= -margin) and (direction == "at-least" or off <= margin)


def _tail(scipy: Any, quantile: float, degrees: float, shift: float) -> float:
    """Return P(T > quantile), T noncentral t; far out, where SciPy has no number for it, it is certain."""
    found = float(scipy.nct.sf(quantile, degrees, shift))
    return float(shift > quantile) if math.isnan(found) else found


def _distributions() -> Any:
    try:
        return importlib.import_module("scipy.stats")
    except ImportError as error:
        raise InfrastructureError(
            f"a test over seeds needs SciPy: {error}", where="verify", hint="pip install 'repro-tui[statistics]'"
        ) from None


def require() -> None:
    """Raise InfrastructureError where SciPy is not there: before hours of training, not after them."""
    _distributions()
