from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro_tui.events import CheckStatus
from repro_tui.manifest.models import Claim, ExpectedDigest, ExpectedMetric
from repro_tui.runs.state import MetricKey, MetricValue, Output
from repro_tui.verify.metrics import claim_results, digest_checks, hash_output, judge, metric_checks, tolerance_text

MATCH, WITHIN, DIFFERS = CheckStatus.MATCH, CheckStatus.WITHIN_TOLERANCE, CheckStatus.DIFFERS
UNVERIFIABLE, NOT_RUN = CheckStatus.UNVERIFIABLE, CheckStatus.NOT_RUN
Direction = Literal["two-sided", "at-least", "at-most"]


def metric(
    value: float, absolute: float | None = None, relative: float | None = None, direction: Direction = "two-sided"
) -> ExpectedMetric:
    return ExpectedMetric(name="accuracy", value=value, absolute=absolute, relative=relative, direction=direction)


@pytest.mark.parametrize(
    ("expected", "observed", "status"),
    [
        (metric(0.94, 0.01), 0.94, MATCH),
        (metric(0.94, 0.01), 0.95, WITHIN),  # 0.95 - 0.94 > 0.01 in binary
        (metric(0.94, 0.01), 0.93, WITHIN),
        (metric(0.94, 0.01), 0.9500001, DIFFERS),
        (metric(0.94, 0.0), 0.9400000000000001, DIFFERS),
        (metric(200.0, relative=0.01), 202.0, WITHIN),
        (metric(-200.0, relative=0.01), -202.0, WITHIN),
        (metric(200.0, relative=0.01), 202.1, DIFFERS),
        (metric(200.0, 1.0, 0.01), 203.0, WITHIN),
        (metric(0.9, 0.01, direction="at-least"), 0.99, WITHIN),
        (metric(0.9, 0.01, direction="at-least"), 0.89, WITHIN),
        (metric(0.9, 0.01, direction="at-least"), 0.889, DIFFERS),
        (metric(5.0, 0.1, direction="at-most"), 1.0, WITHIN),
        (metric(5.0, 0.1, direction="at-most"), 5.11, DIFFERS),
        (metric(0.0, 0.0), -0.0, MATCH),
        (metric(0.9, 1e9), math.nan, DIFFERS),
        (metric(0.9, 1e9, direction="at-least"), math.inf, DIFFERS),
        (metric(0.9, 1e9, direction="at-most"), -math.inf, DIFFERS),
    ],
)
def test_the_tolerance_rule(expected: ExpectedMetric, observed: float, status: CheckStatus) -> None:
    assert judge(expected, observed) is status


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
tolerance = st.floats(min_value=0, max_value=1e6)


@given(finite, finite, tolerance, tolerance)
def test_a_wider_tolerance_never_turns_a_pass_into_a_difference(
    value: float, seen: float, one: float, more: float
) -> None:
    if judge(metric(value, one), seen) is not DIFFERS:
        assert judge(metric(value, one + more), seen) is not DIFFERS
    both = {judge(metric(value, one, direction=direction), seen) for direction in ("at-least", "at-most")}
    assert (judge(metric(value, one), seen) is DIFFERS) == (DIFFERS in both)


def test_a_metric_that_is_missing_or_no_number_is_unverifiable() -> None:
    seen = {
        MetricKey("accuracy", "validation"): MetricValue(0.9),
        MetricKey("accuracy", "test", "acq"): MetricValue(0.9),
        MetricKey("f1"): MetricValue(None),
        MetricKey("loss"): MetricValue(math.nan),
    }
    expected = [
        metric(0.9, 0.1),
        ExpectedMetric(name="f1", value=1.0, absolute=1.0),
        ExpectedMetric(name="loss", value=1.0, absolute=1.0),
    ]
    checks = metric_checks(expected, seen, at=1.0)
    assert [(check.name, check.status) for check in checks] == [
        ("metric test/accuracy", UNVERIFIABLE), ("metric test/f1", UNVERIFIABLE), ("metric test/loss", DIFFERS),
    ]  # fmt: skip
    assert checks[2].observed == "nan"
    assert all(check.required and check.component == "metrics" and check.detail for check in checks)


def test_tolerances_in_words() -> None:
    assert tolerance_text(metric(1, 0.005)) == "± 0.005"
    assert tolerance_text(metric(1, 0.0)) == "exactly"
    assert tolerance_text(metric(1, 0.005, 0.01)) == "± 0.005 ± 1 %"
    assert tolerance_text(metric(1, 0.01, direction="at-least")) == "at least - 0.01"
    assert tolerance_text(metric(1, relative=0.02, direction="at-most")) == "at most + 2 %"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    (folder / "best").mkdir(parents=True)
    (folder / "best/weights").write_bytes(b"weights")
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to("best/weights")
    (folder / "linked").symlink_to("best")
    (folder / "away").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    return folder


WEIGHTS = hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize("path", ["best/weights", "/out/best/weights", "./best//weights"])
def test_an_output_is_hashed_by_the_host(out: Path, path: str) -> None:
    assert hash_output(out, path) == WEIGHTS


@pytest.mark.parametrize(
    "path",
    ["link", "linked/weights", "away", "pipe", "best", "../secret", "best/../../secret", "/etc/passwd", "/secret",
     "/out/../secret", "", "/out", ".", "missing", "nul\0byte", "x" * 5000, "best/weights/x"],
)  # fmt: skip
def test_a_path_that_leads_out_or_is_no_file_is_refused(out: Path, path: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        hash_output(out, path)


def test_digests(out: Path) -> None:
    outputs = {"weights": Output("best/weights", sha256="f" * 64), "predictions": Output("away", sha256=WEIGHTS)}
    expected = [ExpectedDigest(name=name, sha256=WEIGHTS) for name in ("weights", "predictions", "logits")]
    weights, predictions, logits = digest_checks(expected, outputs, out, cpu_vendor=None, at=1.0)
    assert (weights.status, weights.observed) == (MATCH, WEIGHTS), "the claim is not believed, the file is"
    assert "claims" in weights.detail
    assert (predictions.status, predictions.observed) == (UNVERIFIABLE, "")
    assert logits.status is UNVERIFIABLE
    assert all(check.required for check in (weights, predictions, logits))


@pytest.mark.parametrize(
    ("recorded", "here", "digest", "status", "required"),
    [
        ("AuthenticAMD", "AuthenticAMD", WEIGHTS, MATCH, True),
        ("AuthenticAMD", "AuthenticAMD", "0" * 64, DIFFERS, True),
        ("AuthenticAMD", "GenuineIntel", WEIGHTS, MATCH, False),
        ("AuthenticAMD", "GenuineIntel", "0" * 64, NOT_RUN, False),
        ("AuthenticAMD", None, "0" * 64, UNVERIFIABLE, True),
        (None, "GenuineIntel", "0" * 64, DIFFERS, True),
    ],
)
def test_a_digest_of_another_vendor_s_cpu_informs_only(
    out: Path, recorded: str | None, here: str | None, digest: str, status: CheckStatus, required: bool
) -> None:
    expected = ExpectedDigest(name="weights", sha256=digest, cpu_vendor=recorded)
    (check,) = digest_checks([expected], {"weights": Output("best/weights")}, out, cpu_vendor=here, at=1.0)
    assert (check.status, check.required) == (status, required)
    assert status in {MATCH, DIFFERS} or "AuthenticAMD" in check.detail


def test_claims_are_set_beside_what_was_observed() -> None:
    claims = [
        Claim(metric="accuracy", value=0.971, within=0.01, source="Table 2, row 3"),
        Claim(metric="accuracy", value=0.99, within=0.01, source="Table 2, row 4"),
        Claim(metric="f1", value=0.9, within=0.01, source="Table 3"),
    ]
    results = claim_results(claims, {MetricKey("accuracy"): MetricValue(0.965)})
    assert [(each.observed, each.status) for each in results] == [
        (0.965, WITHIN),
        (0.965, DIFFERS),
        (None, UNVERIFIABLE),
    ]
