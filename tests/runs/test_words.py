"""How a run is put into words."""

from __future__ import annotations

import pytest

from repro_tui.events import CheckResult, CheckStatus, RunFinished, Verdict
from repro_tui.runs import words
from repro_tui.runs.state import RunState, Stage


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (59.96, "1 min 00 s"), (245, "4 min 05 s"), (3720, "1 h 02 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (12_345_678, "12.3 MB"), (2.5e9, "2.50 GB")])
def test_sizes(count: float, text: str) -> None:
    assert words.size(count) == text


def test_nothing_from_outside_can_steer_the_terminal() -> None:
    assert words.printable("a\x1b[2Jb\x07\r\u202ec\nd") == "a?[2Jb???c\nd"


def running(done: int, total: int, text: str = "", unit: str = "bytes") -> Stage:
    return Stage("image", running=True, done=done, total=total, unit=unit, text=text)


def test_the_time_left_is_that_of_what_is_being_done_now() -> None:
    pace = words.Pace()
    assert pace.left_s(running(0, 100, "fetching"), 0.0) is None
    assert pace.left_s(running(50, 100, "fetching"), 10.0) == 10.0
    assert pace.left_s(running(10, 100, "unpacking"), 11.0) is None, "another thing begins"
    assert pace.left_s(running(40, 100, "unpacking"), 14.0) == 6.0
    assert pace.left_s(running(100, 100, "unpacking"), 20.0) is None


def test_the_summary_shows_results_and_what_does_not_hold() -> None:
    state = RunState()

    def check(name: str, component: str, status: CheckStatus, expected: str = "", observed: str = "") -> None:
        state.apply(
            CheckResult(at=0, name=name, component=component, status=status, expected=expected, observed=observed)
        )

    digest = "0123456789abcdef" * 4
    check("artifact data", "artifacts", CheckStatus.MATCH)
    check(
        "environment hash",
        "environment",
        CheckStatus.DIFFERS,
        expected=f"sha256:{digest}",
        observed="sha256:" + "f" * 64,
    )
    check("metric test/accuracy", "metrics", CheckStatus.NOT_RUN, expected="0.9")
    state.apply(RunFinished(at=1, verdict=Verdict.ENVIRONMENT_DRIFT, exit_code=1, summary="It drifted."))
    text = "\n".join(words.summary(state))
    assert "0123456789ab…" in text
    assert digest not in text
    assert "not run" in text
    assert "artifact data" not in text
    assert "1 more hold" in text
    assert text.endswith("ENVIRONMENT DRIFT: It drifted.")


def test_a_failed_run_does_not_list_what_was_never_made() -> None:
    state = RunState()
    for name in ("one", "two"):
        state.apply(CheckResult(at=0, name=name, component="metrics", status=CheckStatus.NOT_RUN))
    state.apply(RunFinished(at=1, verdict=Verdict.FAILED, exit_code=4, summary="It crashed."))
    assert list(words.summary(state)) == ["  2 checks not made", "", "FAILED: It crashed."]


def test_a_gpu_says_what_its_driver_tells() -> None:
    whole = {"index": "0", "utilisation_percent": 97, "memory_bytes": 3 << 30, "temperature_c": 61, "power_w": 512.3}
    assert words.gpu(whole) == f"GPU 0 97 %, {words.size(3 << 30)}, 61 °C, 512 W"
    assert words.gpu({"index": "0:1", "memory_bytes": 0}) == f"GPU 0:1 {words.size(0)}"
