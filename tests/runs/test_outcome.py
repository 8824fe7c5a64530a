from __future__ import annotations

import pytest

from repro_tui.events import CheckResult, CheckStatus
from repro_tui.runs import outcome
from repro_tui.runs.state import MetricKey, MetricValue, RunState, Table


def check(name: str, status: CheckStatus, at: float = 0.0, **more: object) -> CheckResult:
    component = str(more.pop("component", "environment"))
    return CheckResult(at=at, name=name, component=component, status=status, **more)  # type: ignore[arg-type]


def state(*checks: CheckResult) -> RunState:
    return RunState(checks={each.name: each for each in checks})


@pytest.mark.parametrize(
    ("expected", "observed", "difference"),
    [
        ("0.875", "0.8625", "-0.0125"),
        ("0.875", "0.875", "0"),
        ("1", "1.0", "0"),
        ("0.875", "nan", "other"),
        ("nan", "nan", "same"),
        ("a" * 64, "b" * 64, "other"),
        ("a" * 64, "a" * 64, "same"),
        ("0.875", "", ""),
        ("", "0.875", ""),
    ],
)
def test_a_difference_is_a_number_or_a_word(expected: str, observed: str, difference: str) -> None:
    assert outcome.difference(expected, observed) == difference


def test_numbers_have_six_digits_and_digests_their_first_ones() -> None:
    assert outcome.number("0.8753432180120813") == "0.875343"
    assert outcome.number("sha256:" + "a" * 64) == "aaaaaaaaaaaa…"
    assert outcome.number("1234567890") == "1234567890", "a whole number is left whole"
    assert outcome.number("3e5") == "300000"
    assert outcome.number("threads 2") == "threads 2"


def test_what_decides_and_does_not_hold_comes_first_then_results_then_pins() -> None:
    rows = outcome.check_rows(
        state(
            check("image", CheckStatus.MATCH, component="image", expected="a", observed="a"),
            check("informs", CheckStatus.NOT_RUN, required=False, observed="x"),
            check("metric", CheckStatus.WITHIN_TOLERANCE, component="metrics", expected="1", observed="1.1"),
            check("artifact", CheckStatus.DIFFERS, component="artifacts", expected="a", observed="b"),
            check("empty", CheckStatus.NOT_RUN, required=False),
        )
    )
    assert [row.name for row in rows] == ["artifact", "metric", "image", "informs"]
    assert rows[1].difference == "+0.1"
    assert not rows[-1].decides


def test_what_drifted_first_is_named_first() -> None:
    found = outcome.drifts(
        state(
            check("metric", CheckStatus.DIFFERS, 9.0, component="metrics", expected="1", observed="2"),
            check("environment hash", CheckStatus.DIFFERS, 5.0, detail="six is 1.16, pinned 1.17"),
            check("environment: distributions", CheckStatus.DIFFERS, 5.0, detail="six is 1.16, pinned 1.17"),
            check("informs", CheckStatus.DIFFERS, 1.0, required=False),
            check("unknown", CheckStatus.UNVERIFIABLE, 2.0),
        )
    )
    assert [each.name for each in found] == ["environment hash", "metric"]
    assert outcome.drift_words(found[0]) == "environment hash: six is 1.16, pinned 1.17"
    assert outcome.drift_words(found[1]) == "metric: 2 in place of 1"


def test_parts_of_the_environment_are_told_where_the_whole_tells_nothing() -> None:
    part = check("environment: base", CheckStatus.DIFFERS, detail="bash is missing")
    assert outcome.drifts(state(check("environment hash", CheckStatus.DIFFERS), part))[1] == part


def test_what_cannot_be_verified_is_told_where_nothing_differs() -> None:
    found = outcome.drifts(state(check("hash", CheckStatus.UNVERIFIABLE, expected="a"), check("b", CheckStatus.MATCH)))
    assert [outcome.drift_words(each) for each in found] == ["hash: nothing in place of a"]
    assert outcome.drifts(state(check("b", CheckStatus.MATCH))) == []


def test_results_by_class_come_from_the_table_or_else_from_metrics() -> None:
    run = RunState()
    assert outcome.by_class(run) is None
    assert outcome.confusion(run) is None
    for name, label, value in (("f1", "a", 0.5), ("f1", "b", 0.25), ("recall", "a", 1.0)):
        run.metrics[MetricKey(name, "test", label)] = MetricValue(value)
    table = outcome.by_class(run)
    assert table == Table(("class", "f1", "recall"), (("a", 0.5, 1.0), ("b", 0.25, None)))
    assert outcome.cells(table) == [("a", "0.5", "1"), ("b", "0.25", "-")]
    run.tables["per_class"] = Table(("class", "f1"), (("a",), ("b", 1, "too much")))
    told = outcome.by_class(run)
    assert told is not None
    assert outcome.cells(told) == [("a", ""), ("b", "1")], "a row of another length does no harm"
