"""Tests over seeds: against numbers worked by hand or by SciPy's own tests, and by how often they err."""

from __future__ import annotations

import math
import random
import statistics
import sys
from typing import Any

import pytest

from repro_tui.errors import InfrastructureError
from repro_tui.verify import statistics as seeds

scipy_stats: Any = pytest.importorskip("scipy.stats", reason="needs SciPy: pip install 'repro-tui[statistics]'")


def test_a_prediction_interval_by_hand() -> None:
    """s = sqrt(2.5), t(0.975; 4) = 2.776 from any table of t: 2.776 · 1.5811 · sqrt(1 + 1/5) = 4.808."""
    assert seeds.half_width([1, 2, 3, 4, 5], 0.95) == pytest.approx(4.808, abs=0.002)
    assert seeds.half_width([1, 2, 3, 4, 5], 0.95, future=5) == pytest.approx(
        2.776 * 1.5811 * math.sqrt(0.4), abs=0.002
    )
    assert seeds.half_width([0.5, 0.5, 0.5], 0.95) == 0.0
    with pytest.raises(ValueError, match="two recorded values"):
        seeds.half_width([0.5], 0.95)


def test_the_two_one_sided_tests_are_those_of_scipy() -> None:
    one, other, margin = [4.1, 3.9, 4.3, 4.0, 4.2], [4.15, 3.8, 4.4, 4.05], 0.6
    found = seeds.equivalence(one, other, confidence=0.95, margin=margin)
    above = scipy_stats.ttest_ind([x + margin for x in other], one, equal_var=False, alternative="greater")
    below = scipy_stats.ttest_ind([x - margin for x in other], one, equal_var=False, alternative="less")
    assert found.p_values == pytest.approx((above.pvalue, below.pvalue))
    assert found.degrees == pytest.approx(above.df)
    assert found.interval == pytest.approx(
        tuple(scipy_stats.ttest_ind(other, one, equal_var=False).confidence_interval(0.9))
    )
    assert found.outcome == "passed"


def test_the_power_is_the_published_one() -> None:
    """Two groups of 12, CV 20 %, limits 80-125 % on logarithms, no difference: Owen's Q gives 0.6 to three digits."""
    spread = math.sqrt(math.log(1 + 0.2**2))
    error, margin = spread * math.sqrt(2 / 12), math.log(1.25)
    found = seeds.equivalence_power(error, 22, confidence=0.95, margin=margin)
    noise = random.Random(1)
    shown = 0
    quantile = scipy_stats.t.ppf(0.95, 22)
    for _ in range(8_000):
        estimated = error * math.sqrt(noise.gammavariate(11, 2) / 22)
        shown += abs(noise.gauss(0, error)) < margin - quantile * estimated
    assert found == pytest.approx(shown / 8_000, abs=0.02)
    one_sided = seeds.equivalence_power(error, 22, confidence=0.95, margin=margin, two_sided=False)
    assert one_sided == pytest.approx(1 - scipy_stats.nct.cdf(quantile, 22, margin / error))


@pytest.mark.parametrize("m", [1, 3, 8])
def test_a_prediction_interval_errs_as_often_as_it_says(m: int) -> None:
    noise = random.Random(2)
    draws = 1500
    failed = sum(
        seeds.prediction(gauss(noise, 5), gauss(noise, m), confidence=0.9, margin=1).outcome == "failed"
        for _ in range(draws)
    )
    assert failed / draws == pytest.approx(0.1, abs=0.025)


def test_equivalence_is_wrongly_shown_as_rarely_as_it_says() -> None:
    noise = random.Random(3)
    draws = 400
    wrong = sum(
        seeds.equivalence(gauss(noise, 8), gauss(noise, 8, 2.0), confidence=0.9, margin=2.0).outcome == "passed"
        for _ in range(draws)
    )
    assert wrong / draws == pytest.approx(0.1, abs=0.045)


def test_too_little_power_decides_nothing() -> None:
    recorded, near = [0.80, 0.84, 0.82], [0.81, 0.83]
    weak = seeds.equivalence(recorded, near, confidence=0.95, margin=0.01)
    assert weak.outcome == "undecided"
    assert weak.power is not None
    assert weak.power < 0.2
    wide = seeds.prediction(recorded[:2], near, confidence=0.95, margin=0.01)
    assert (wide.outcome, wide.power is not None and wide.power < 0.2) == ("undecided", True)
    assert "more seeds" in weak.words
    assert "more seeds" in wide.words


def test_what_is_far_off_is_different_however_little_the_power() -> None:
    recorded = [0.80, 0.84, 0.82]
    assert seeds.equivalence(recorded, [0.3, 0.31, 0.29], confidence=0.95, margin=0.01).outcome == "failed"
    assert seeds.prediction(recorded, [0.3], confidence=0.95, margin=0.01).outcome == "failed"


def test_enough_seeds_decide() -> None:
    noise = random.Random(4)
    recorded, same, other = gauss(noise, 20), gauss(noise, 20), gauss(noise, 20, 3.0)
    for test in (seeds.equivalence, seeds.prediction):
        assert test(recorded, same, confidence=0.95, margin=1.5).outcome == "passed"
        assert test(recorded, other, confidence=0.95, margin=1.5).outcome == "failed"


@pytest.mark.parametrize(("direction", "better", "worse"), [("at-least", 3.0, -3.0), ("at-most", -3.0, 3.0)])
def test_only_the_side_that_matters_differs(direction: seeds.Direction, better: float, worse: float) -> None:
    noise = random.Random(5)
    recorded = gauss(noise, 20)
    for test in (seeds.equivalence, seeds.prediction):
        good = test(recorded, gauss(noise, 20, better), confidence=0.95, margin=1.0, direction=direction)
        bad = test(recorded, gauss(noise, 20, worse), confidence=0.95, margin=1.0, direction=direction)
        assert (good.outcome, bad.outcome) == ("passed", "failed")


def test_seeds_without_any_spread() -> None:
    for test in (seeds.equivalence, seeds.prediction):
        assert test([0.1] * 3, [0.1] * 2, confidence=0.95, margin=0.001).outcome == "passed"
        assert test([0.1] * 3, [0.2] * 2, confidence=0.95, margin=0.001).outcome == "failed"
    assert seeds.prediction([0.1] * 2, [0.1, 0.10001], confidence=0.95, margin=0.1).outcome == "failed"
    assert seeds.equivalence([0.1] * 2, [0.1, 0.10001], confidence=0.95, margin=0.1).outcome == "passed"


def test_too_few_values_decide_nothing() -> None:
    assert seeds.prediction([0.1], [0.1, 0.2], confidence=0.95, margin=1).outcome == "undecided"
    assert seeds.equivalence([0.1, 0.2], [0.1], confidence=0.95, margin=1).outcome == "undecided"


def test_without_scipy_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(InfrastructureError) as raised:
        seeds.require()
    assert raised.value.hint == "pip install 'repro-tui[statistics]'"


def gauss(noise: random.Random, count: int, mean: float = 0.0) -> list[float]:
    values = [noise.gauss(mean, 1.0) for _ in range(count)]
    assert statistics.stdev(values or [0, 1]) > 0 if count > 1 else values
    return values
