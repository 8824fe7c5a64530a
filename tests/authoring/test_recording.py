"""The tolerance that a recording writes: from the spread of the seeds, and a guess is said to be one."""

from __future__ import annotations

import pytest

from repro_tui.authoring.recording import tolerance
from repro_tui.manifest.models import ExpectedMetric
from repro_tui.verify.metrics import judge

pytest.importorskip("scipy", reason="needs SciPy: pip install 'repro-tui[statistics]'")


def test_the_tolerance_is_the_prediction_interval_for_one_more_seed() -> None:
    """2.776 · 1.5811 · sqrt(1.2) = 4.808, rounded up."""
    found = tolerance("loss", "test", [1, 2, 3, 4, 5], 1, 0.95)
    assert found.value == 3
    assert found.absolute == pytest.approx(4.81)
    assert found.rule == "95 % prediction interval for one further seed, from 5"


@pytest.mark.parametrize(
    "values", [[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.9], [1e-9, 3e-9], [0.871, 0.874, 0.869], [5e8, 6e8, 7e8]]
)
def test_every_recorded_seed_is_within_its_own_tolerance(values: list[float]) -> None:
    found = tolerance("loss", "test", values, values[0], 0.5)
    rule = ExpectedMetric(name="loss", value=found.value, absolute=found.absolute)
    assert {judge(rule, value).value for value in values} <= {"match", "within tolerance"}


def test_one_seed_is_exact_or_a_guess() -> None:
    exact = tolerance("loss", "test", [0.5], 0.5, 0.95)
    assert (exact.value, exact.absolute) == (0.5, 0.0)
    guess = tolerance("loss", "test", [0.5], 0.6, 0.95)
    assert guess.value == pytest.approx(0.55)
    assert guess.absolute > 1
    assert "guess" in exact.rule
    assert "guess" in guess.rule


def test_seeds_that_all_gave_the_same_are_wondered_at() -> None:
    found = tolerance("loss", "test", [0.1, 0.1, 0.1], 0.1, 0.95)
    assert (found.value, found.absolute) == (0.1, 0.0)
    assert "does the task use its seed?" in found.rule
