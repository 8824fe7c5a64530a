"""The table of tasks: what it takes from a run, and how it puts a gap into words."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.tasks import gap, rates_of
from repro_tui import wire
from repro_tui.events import CheckStatus
from repro_tui.report.model import ClaimChecked
from repro_tui.runs.directory import RunDirectory


@pytest.mark.parametrize(
    ("observed", "note", "words"),
    [
        (0.9, "", "equal, within 0.05"),
        (0.87, "Ours is cut.", "0.03 below, within 0.05. Ours is cut."),
        (0.99, "", "0.09 above, beyond 0.05"),
        (None, "", "not observed"),
        ("nan", "", "not observed"),
    ],
)
def test_a_gap_says_how_far_and_why(observed: float | str | None, note: str, words: str) -> None:
    claim = ClaimChecked.model_validate(
        {
            "metric": "accuracy", "split": "test", "claimed": 0.9, "within": 0.05, "observed": observed,
            "status": CheckStatus.MATCH, "source": "A paper", "verified": True, "note": note,
        }
    )  # fmt: skip
    assert gap(claim) == words


def test_a_number_nobody_looked_up_says_so() -> None:
    claim = ClaimChecked(
        metric="accuracy", split="test", claimed=0.5, within=0.1, observed=0.5, status=CheckStatus.MATCH,
        source="A paper", verified=False,
    )  # fmt: skip
    assert gap(claim) == "equal, within 0.1. The number was not looked up."


def test_rates_are_those_of_the_stage_that_told_them(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "x")
    lines = [
        wire.encode("stage", stage="a"),
        wire.encode("step", step=1, total=1, examples_per_s=2.0),
        "half a li\n",
        wire.encode("stage", stage="b"),
        wire.encode("step", step=1, total=2, examples_per_s=3.0),
        wire.encode("step", step=2, total=2, loss=1.0),
    ]
    run.metrics.write_text("".join(lines))
    assert dict(rates_of(run)) == {"a": [2.0], "b": [3.0]}
