from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro_tui.errors import (
    CancelledError,
    DigestMismatchError,
    DriftError,
    EngineError,
    InfrastructureError,
    ManifestError,
    ReproError,
    RunFailedError,
    StoreFullError,
)
from repro_tui.events import CheckResult, CheckStatus, Verdict
from repro_tui.verify.verdict import Decision, decide

PINS = ("image", "artifacts", "job", "environment")


def check(
    component: str, status: CheckStatus = CheckStatus.MATCH, *, name: str = "", required: bool = True, detail: str = ""
) -> CheckResult:
    return CheckResult(at=1.0, name=name or component, component=component, status=status, required=required,
                       expected="a", observed="b", detail=detail)  # fmt: skip


GOOD = [*map(check, PINS), check("metrics"), check("digests")]

passing = st.builds(
    check,
    st.sampled_from([*PINS, "metrics", "digests"]),
    name=st.text(min_size=1, max_size=5),
)
some_results = st.builds(check, st.sampled_from(["metrics", "digests"]), name=st.text(min_size=1, max_size=5))
good_runs = st.tuples(st.lists(passing, max_size=6), some_results).map(lambda both: [*both[0], both[1]])
failing = st.sampled_from([CheckStatus.DIFFERS, CheckStatus.UNVERIFIABLE, CheckStatus.NOT_RUN])


def test_all_that_is_required_holds() -> None:
    decision = decide(GOOD)
    assert decision == Decision(Verdict.REPRODUCED, decision.exit_code, "1 metric, 1 output digest and 4 pins hold.")
    assert decision.exit_code == 0


@given(good_runs, st.data())
def test_one_required_check_that_does_not_hold_is_never_reproduced(
    checks: list[CheckResult], data: st.DataObject
) -> None:
    assert decide(checks).verdict is Verdict.REPRODUCED
    index = data.draw(st.integers(0, len(checks) - 1))
    status = data.draw(failing)
    spoilt = [*checks]
    spoilt[index] = dataclasses.replace(checks[index], status=status)
    decision = decide(spoilt)
    assert decision.verdict is not Verdict.REPRODUCED
    assert decision.exit_code != 0
    assert len(decision.summary) > 10


@given(good_runs, st.data(), st.sampled_from(list(CheckStatus)))
def test_what_only_informs_never_decides(checks: list[CheckResult], data: st.DataObject, status: CheckStatus) -> None:
    extra = dataclasses.replace(data.draw(passing), status=status, required=False)
    assert decide([*checks, extra]) == decide(checks)


@given(good_runs, st.permutations(range(7)))
def test_the_order_of_the_checks_does_not_matter_to_the_verdict(checks: list[CheckResult], order: list[int]) -> None:
    shuffled = [checks[index] for index in order if index < len(checks)]
    assert decide(shuffled).verdict is decide(checks).verdict


@pytest.mark.parametrize("component", [*PINS, "something new"])
def test_a_pin_that_differs_is_drift_and_named(component: str) -> None:
    spoilt = check(component, CheckStatus.DIFFERS, name="environment hash", detail="OMP_NUM_THREADS is 4, pinned 2")
    decision = decide([*GOOD, spoilt, check("metrics", CheckStatus.DIFFERS)])
    assert (decision.verdict, decision.exit_code) == (Verdict.ENVIRONMENT_DRIFT, 1)
    assert decision.summary == "Environment hash: OMP_NUM_THREADS is 4, pinned 2."


def test_many_differences_are_not_all_in_one_sentence() -> None:
    keys = [f"key {number} is 1, recorded 2" for number in range(9)]
    spoilt = check("job", CheckStatus.DIFFERS, name="job", detail="; ".join(keys))
    assert decide([*GOOD, spoilt]).summary == f"Job: {'; '.join(keys[:3])}; and 6 more."
    spoilt = check("job", CheckStatus.DIFFERS, name="job", detail="; ".join(keys[:4]))
    assert decide([*GOOD, spoilt]).summary == f"Job: {'; '.join(keys[:4])}."


@pytest.mark.parametrize("component", [*PINS, "digests"])
def test_only_a_metric_may_be_within_tolerance(component: str) -> None:
    assert decide([check("metrics", CheckStatus.WITHIN_TOLERANCE)]).verdict is Verdict.REPRODUCED
    assert decide([*GOOD, check(component, CheckStatus.WITHIN_TOLERANCE)]).verdict is Verdict.INCONCLUSIVE


def test_a_result_that_differs_counts_more_than_one_that_is_missing() -> None:
    checks = [*GOOD, check("metrics", CheckStatus.UNVERIFIABLE), check("digests", CheckStatus.DIFFERS, name="weights")]
    decision = decide(checks)
    assert (decision.verdict, decision.exit_code) == (Verdict.METRICS_DIFFER, 1)
    assert decision.summary == "Weights is b, expected a."


@pytest.mark.parametrize(
    "checks",
    [
        [],
        [check("image"), check("environment")],
        [check("image"), check("digests", CheckStatus.NOT_RUN, required=False)],
        [*GOOD, check("metrics", CheckStatus.UNVERIFIABLE)],
        [*GOOD, check("environment", CheckStatus.NOT_RUN)],
    ],
)
def test_nothing_verified_is_inconclusive(checks: list[CheckResult]) -> None:
    decision = decide(checks)
    assert (decision.verdict, decision.exit_code) == (Verdict.INCONCLUSIVE, 5)


@pytest.mark.parametrize(
    ("failure", "verdict", "code"),
    [
        (RunFailedError("the training ended with exit code 1"), Verdict.FAILED, 4),
        (EngineError("the engine lost the container"), Verdict.FAILED, 3),
        (StoreFullError("no space left"), Verdict.FAILED, 3),
        (InfrastructureError("no network"), Verdict.FAILED, 3),
        (ManifestError("not TOML"), Verdict.FAILED, 2),
        (CancelledError("cancelled"), Verdict.CANCELLED, 130),
        (DriftError("the hash differs", component="environment"), Verdict.ENVIRONMENT_DRIFT, 1),
        (DigestMismatchError(component="train.tab", expected="a", observed="b"), Verdict.ENVIRONMENT_DRIFT, 1),
    ],
)
def test_a_run_that_did_not_end_well(failure: ReproError, verdict: Verdict, code: int) -> None:
    for checks in (GOOD, [], [check("metrics", CheckStatus.UNVERIFIABLE)], [check("metrics", CheckStatus.DIFFERS)]):
        decision = decide(checks, failure)
        assert (decision.verdict, decision.exit_code) == (verdict, code)


def test_drift_that_was_found_explains_a_failure() -> None:
    drifted = [check("environment", CheckStatus.DIFFERS, detail="torch is 2.14.0, pinned 2.13.0")]
    assert decide(drifted, RunFailedError("crashed")).verdict is Verdict.ENVIRONMENT_DRIFT
    assert decide(drifted, CancelledError("cancelled")).verdict is Verdict.CANCELLED
