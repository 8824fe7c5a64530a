from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from repro_tui.events import CheckStatus, Verdict
from repro_tui.report import badge, junit
from repro_tui.report.model import Report
from tests.report import recorded

SVG = "{http://www.w3.org/2000/svg}"


def contrast_with_white(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


@pytest.mark.parametrize("verdict", [*Verdict, None])
def test_badge_says_the_verdict_by_word_sign_and_readable_colour(verdict: Verdict | None) -> None:
    made = badge.badge(verdict)
    top = ET.fromstring(made)
    word = "not run yet" if verdict is None else verdict.value.lower()
    assert top.get("aria-label") == f"reproduction: {word}" == top.findtext(f"{SVG}title")
    label, shown = (each.text for each in top.iter(f"{SVG}text"))
    assert label == "reproduction"
    assert shown is not None
    assert shown.endswith(f" {word}")
    for rect in top.iter(f"{SVG}rect"):
        if fill := rect.get("fill"):
            assert contrast_with_white(fill) >= 4.5
    assert "http" not in made.replace("http://www.w3.org/2000/svg", "")
    assert made == badge.badge(verdict)


def test_badges_differ_by_more_than_their_word() -> None:
    looks = {badge.badge(verdict).replace(verdict.value.lower(), "") for verdict in Verdict}
    assert len(looks) == len(Verdict)


def suite_of(report: Report) -> ET.Element:
    top = ET.fromstring(junit.render(report))
    assert top.tag == "testsuites"
    [suite] = top
    order = [child.tag for child in suite]
    assert order == ["properties", *["testcase"] * (len(order) - 2), "system-out"]
    cases = suite.findall("testcase")
    assert suite.get("tests") == top.get("tests") == str(len(cases))
    for kind, key in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert suite.get(key) == str(sum(case.find(kind) is not None for case in cases))
    for case in cases:
        assert case.get("name")
        assert case.get("classname")
        assert len([child for child in case if child.tag in {"failure", "error", "skipped"}]) <= 1
    return suite


@pytest.mark.parametrize("name", recorded.ENDED)
def test_only_reproduced_is_without_failure_and_error(name: str) -> None:
    report = recorded.report(name)
    suite = suite_of(report)
    clean = suite.get("failures") == suite.get("errors") == "0"
    assert clean == (report.verdict is Verdict.REPRODUCED)
    assert {check.name for check in report.checks} <= {case.get("name") for case in suite.findall("testcase")}


def test_a_check_that_differs_is_a_failure_with_both_values() -> None:
    suite = suite_of(recorded.report("differs"))
    [failure] = suite.iter("failure")
    assert failure.get("message") == "expected 0.825 ± 0.001, observed 0.875"
    assert failure.get("type") == "differs"


def test_a_run_that_failed_is_an_error_and_its_results_are_skipped() -> None:
    suite = suite_of(recorded.report("failed"))
    [error] = suite.iter("error")
    assert "math domain error" in (error.text or "")
    assert suite.get("skipped") == "4"


def test_a_check_that_informs_fails_nothing_and_odd_characters_are_replaced() -> None:
    report = recorded.report("reproduced")
    odd = report.checks[0].model_copy(
        update={"status": CheckStatus.DIFFERS, "required": False, "name": "a<b\x00\x1b]]>", "detail": "\ufffe"}
    )
    suite = suite_of(report.model_copy(update={"checks": [odd]}))
    assert suite.get("failures") == "0"
    [case] = suite.findall("testcase")
    assert case.get("name") == "a<b��]]>"
    assert "informs only: differs" in (case.findtext("system-out") or "")


def test_a_verdict_that_no_check_explains_is_an_error() -> None:
    report = recorded.report("reproduced").model_copy(update={"verdict": Verdict.INCONCLUSIVE, "checks": []})
    assert suite_of(report).get("errors") == "1"


def test_a_training_that_crashed_is_told_also_where_a_drifted_pin_decides() -> None:
    report = recorded.report("failed")
    drifted = report.checks[0].model_copy(update={"status": CheckStatus.DIFFERS, "required": True})
    update = {"verdict": Verdict.ENVIRONMENT_DRIFT, "checks": [drifted, *report.checks[1:]]}
    suite = suite_of(report.model_copy(update=update))
    assert (suite.get("failures"), suite.get("errors")) == ("1", "1")
    assert "math domain error" in (suite.findtext(".//error") or "")
