"""The recorded runs are what their names say, say nothing of the machine they were made on, and stay small."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from repro_tui.runs.catalog import list_runs, read_entry
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.reader import read_state
from tests.tui.record import ORDER, RECORDED

VERDICTS = {
    "inconclusive": "INCONCLUSIVE",
    "reproduced": "REPRODUCED",
    "differs": "METRICS DIFFER",
    "drift": "ENVIRONMENT DRIFT",
    "failed": "FAILED",
    "cancelled": "CANCELLED",
    "running": "running",
    "died": "died",
}


@pytest.mark.parametrize("state", VERDICTS)
def test_a_recording_is_in_the_state_of_its_name(
    state: str, recorded: Callable[[str], RunDirectory], clock: float
) -> None:
    run = recorded(state)
    assert read_entry(run).status == VERDICTS[state]
    read = read_state(run)
    assert read.run_id == run.id
    assert read.metrics or state in {"failed", "drift"}
    assert not read.bad_lines


def test_they_are_listed_newest_first(recorded: Callable[[str], RunDirectory], clock: float) -> None:
    runs = [recorded(state) for state in ORDER]
    listed = list_runs(runs[0].path.parent)
    assert [entry.status for entry in listed] == [VERDICTS[state] for state in reversed(ORDER)]


def test_nothing_tells_where_they_were_made() -> None:
    size = 0
    for file in RECORDED.rglob("*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            size += len(text)
            found = re.findall(r"/(?:root|work|var/tmp|tmp/repro-tui)[/\w.-]*|fc-v\d+", text)
            assert not found, f"{file}: {found}"
    assert size < 500_000
