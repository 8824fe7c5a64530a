"""A metric over seeds becomes one check: the same words and the same care as for a single run."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from repro_tui.events import CheckStatus
from repro_tui.manifest.models import ExpectedMetric, Verify
from repro_tui.verify.seeds import over_seeds

RECORDED = [0.598, 0.599, 0.600, 0.601, 0.602]


def metric(
    *, margin: float | None = None, samples: list[float] | None = None, absolute: float = 0.01
) -> ExpectedMetric:
    return ExpectedMetric(name="accuracy", value=0.6, absolute=absolute, samples=samples, margin=margin)


@pytest.mark.parametrize(
    ("values", "status", "words"),
    [
        ({1: 0.6, 2: 0.609}, CheckStatus.WITHIN_TOLERANCE, "all 2 seeds are within"),
        ({1: 0.6, 2: 0.62, 3: 0.5}, CheckStatus.DIFFERS, "seeds 2, 3 are out of"),
        ({1: 0.6, 2: None}, CheckStatus.UNVERIFIABLE, "did not report it with seed 2"),
        ({1: math.nan, 2: 0.6}, CheckStatus.DIFFERS, "seed 1 gave a value that is not finite"),
    ],
)
def test_every_seed_is_to_be_within_its_tolerance(
    values: Mapping[int, float | None], status: CheckStatus, words: str
) -> None:
    found = over_seeds(metric(), values, Verify(seeds=2))
    assert found.status is status
    assert words in found.check(0.0).detail


@pytest.mark.parametrize(
    ("test", "samples", "margin", "status"),
    [
        ("prediction-interval", RECORDED, None, CheckStatus.WITHIN_TOLERANCE),
        ("prediction-interval", [0.598, 0.602], None, CheckStatus.UNVERIFIABLE),
        ("prediction-interval", [0.5, 0.501, 0.502], None, CheckStatus.DIFFERS),
        ("equivalence", RECORDED, 0.01, CheckStatus.WITHIN_TOLERANCE),
        ("equivalence", RECORDED, 0.001, CheckStatus.UNVERIFIABLE),
        ("equivalence", [0.5, 0.501, 0.502], 0.01, CheckStatus.DIFFERS),
    ],
)
def test_the_named_test_decides(test: str, samples: list[float], margin: float | None, status: CheckStatus) -> None:
    pytest.importorskip("scipy", reason="needs SciPy: pip install 'repro-tui[statistics]'")
    verify = Verify.model_validate({"seeds": 3, "test": test})
    found = over_seeds(metric(samples=samples, margin=margin), {7: 0.6, 8: 0.601, 9: 0.602}, verify)
    assert found.status is status
    assert found.judgement.power is not None
    assert (found.judgement.power < 0.8) >= (status is CheckStatus.UNVERIFIABLE)


def test_a_relative_margin_is_of_the_recorded_mean() -> None:
    pytest.importorskip("scipy", reason="needs SciPy: pip install 'repro-tui[statistics]'")
    verify = Verify(seeds=2, test="equivalence", relative_margin=0.05)
    found = over_seeds(metric(samples=RECORDED), {1: 0.6, 2: 0.601}, verify)
    assert found.judgement.margin == pytest.approx(0.03)
    assert found.tolerance == "means within 0.03, 95 %"
