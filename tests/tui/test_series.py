"""A series of runs over seeds: one row at home, a line a seed while it runs, and the test that decided at its end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from repro_tui.pipeline.plan import Options
from repro_tui.runs.catalog import list_runs
from repro_tui.runs.directory import RunDirectory
from repro_tui.tui import naming, starting
from repro_tui.tui.screens.run import RunScreen
from repro_tui.tui.screens.verdict import VerdictScreen
from repro_tui.tui.seeds import SeedsReader, count
from tests.tui.conftest import Recordings
from tests.tui.pilots import SMALL, at_rest, front, opened, until, until_screen, until_text
from tests.tui.snapshots import text_of

pytestmark = pytest.mark.usefixtures("clock")


def test_each_seed_stands_where_its_own_run_directory_says(recorded: Recordings) -> None:
    going = SeedsReader(recorded("series-running"))
    lines = going.look()
    assert [(line.name, line.word) for line in lines] == [("42", "REPRODUCED"), ("43", "running"), ("44", "waiting")]
    assert lines[0].how == "5.2 s"
    assert lines[1].how.startswith("train step 1")
    assert count(lines) == "1 of 3 ended"
    assert going.look() == lines
    assert [line.word for line in SeedsReader(recorded("series")).look()] == ["REPRODUCED"] * 3


def test_a_series_whose_options_are_lost_shows_the_seeds_that_are_there(recorded: Recordings) -> None:
    run = recorded("series")
    run.options.write_text("{", encoding="utf-8")
    (run.seeds / "7.before-1").mkdir()
    shutil.copy(run.seeds / "21/events.jsonl", run.seeds / "7.before-1/events.jsonl")
    assert [line.name for line in SeedsReader(run).look()] == ["21", "22", "42"]


def test_a_seed_that_is_run_again_is_waited_for(recorded: Recordings) -> None:
    run = recorded("series")
    reader = SeedsReader(run)
    reader.look()
    (run.seeds / "21").rename(run.seeds / "21.before-1")
    assert [line.word for line in reader.look()] == ["REPRODUCED", "waiting", "REPRODUCED"]


def test_the_repetition_of_the_first_seed_has_a_line(recorded: Recordings) -> None:
    run = recorded("series")
    body = json.loads(run.options.read_text(encoding="utf-8"))
    run.options.write_text(json.dumps({**body, "twice": True}), encoding="utf-8")
    shutil.copytree(run.seeds / "42", run.seeds / "42.again")
    assert [line.name for line in SeedsReader(run).look()] == ["42", "42 again", "21", "22"]


async def test_home_lists_it_as_one_row(recorded: Recordings) -> None:
    run, _ = recorded("series"), recorded("reproduced")
    async with opened(recorded.folder, folder=recorded.folder) as pilot:
        await until_text(pilot, "two-clouds, 3 seeds", "0 running, 2 in all")
    assert next((entry.run, entry.seeds) for entry in list_runs(recorded.folder)) == (run, 3)


async def test_the_run_screen_begins_with_the_seeds_and_opens_one(recorded: Recordings) -> None:
    run = recorded("series-running")
    async with opened(recorded.folder, run=run) as pilot:
        await until_text(pilot, "RUNNING", "6 Seeds", "1 of 3 ended", "waiting")
        await at_rest(pilot)
        await until(pilot, lambda: getattr(pilot.app.focused, "id", "") == "seeds")
        await pilot.press("enter")
        await until_screen(pilot, "verdict")
        assert front(pilot, VerdictScreen).run.path == run.seeds / "42"
        await until_text(pilot, "seed 42")
        await pilot.press("escape", "down", "enter")
        await until_text(pilot, "two-clouds seed 43", "RUNNING")
        assert front(pilot, RunScreen).run.path == run.seeds / "43"
        await pilot.press("escape")
        await until_text(pilot, "1 of 3 ended")
        await pilot.press("down", "enter")
        await until_text(pilot, "seed 44 has not begun")


async def test_a_small_terminal_has_the_seeds_on_a_key(recorded: Recordings) -> None:
    async with opened(recorded.folder, run=recorded("series-running"), size=SMALL) as pilot:
        await until_text(pilot, "6 Seeds")
        await pilot.press("2")
        await until(pilot, lambda: "6 Seeds" not in text_of(pilot.app))
        await pilot.press("6")
        await until_text(pilot, "6 Seeds", "6 seeds", "1 of 3 ended")


async def test_a_single_run_has_no_seeds(recorded: Recordings) -> None:
    async with opened(recorded.folder, run=recorded("running")) as pilot:
        await until_text(pilot, "RUNNING")
        await pilot.press("6")
        assert "seeds" not in (await at_rest(pilot)).lower()


@pytest.mark.parametrize("where", ["series", "seed"])
async def test_cancel_stops_every_seed_from_wherever_it_is_asked(where: str, recorded: Recordings) -> None:
    series = recorded("series-running")
    shown = RunDirectory(series.seeds / "43") if where == "seed" else series
    async with opened(recorded.folder, run=shown) as pilot:
        await until_text(pilot, "RUNNING")
        await at_rest(pilot)
        await pilot.press("x")
        await until_text(pilot, "no verdict leaves one", "Cancel all seeds")
        await pilot.press("c")
        await until(pilot, lambda: series.cancel_requested() == "the terminal UI")
        assert not (series.seeds / "43/cancel").exists()


async def test_the_verdict_shows_values_test_and_decision_and_opens_a_seed(recorded: Recordings) -> None:
    series = recorded("series")
    async with opened(recorded.folder, run=series) as pilot:
        await until_text(pilot, "3 of 3 ended")
        await pilot.press("o")
        await until_text(
            pilot, "two one-sided tests", "interval", "-0.00928388 to 0.0342839", "power", "0.62",
            "with a power of 0.62 to show it", "0.875",
        )  # fmt: skip
        await pilot.press("s", "down", "enter")
        await until(pilot, lambda: front(pilot, VerdictScreen).run.path == series.seeds / "21")
        await until_text(pilot, "seed 21")


async def test_one_run_has_no_key_for_seeds(recorded: Recordings) -> None:
    async with opened(recorded.folder, run=recorded("reproduced")) as pilot:
        await until_text(pilot, "REPRODUCED")
        await pilot.press("o")
        await until_screen(pilot, "verdict")
        await at_rest(pilot)
        assert front(pilot, VerdictScreen).check_action("seeds", ()) is False


async def test_a_series_that_was_stopped_can_go_on(recorded: Recordings, monkeypatch: pytest.MonkeyPatch) -> None:
    run = recorded("series-running")
    recorded.close()  # its worker is gone
    asked: list[RunDirectory] = []

    def resume(run: RunDirectory) -> RunDirectory:
        asked.append(run)
        return run

    monkeypatch.setattr(starting, "resume", resume)
    async with opened(recorded.folder, run=run) as pilot:
        await until_text(pilot, "DIED")
        await at_rest(pilot)
        before = front(pilot, RunScreen)
        await pilot.press("r")
        await until_text(pilot, "Go on with it", "New series")
        await pilot.press("g")
        await until(pilot, lambda: asked == [run] and front(pilot, RunScreen) is not before)


def test_a_seed_run_again_is_a_run_by_itself(
    recorded: Recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = recorded("series")
    seed = RunDirectory(series.seeds / "21")
    made: list[tuple[Path, Options]] = []
    monkeypatch.setattr(starting, "load", lambda path: path)
    monkeypatch.setattr(starting, "_go", lambda runs, loaded, options: made.append((runs, options)))
    starting.rerun(seed)
    ((runs, options),) = made
    assert runs == tmp_path / "runs"
    assert (options.seed, options.seeds, options.gpus) == (21, (), ())
    assert "--seeds 42,21,22" in naming.command(series)
    assert "--seed 21" in naming.command(seed)


async def test_a_run_that_cannot_be_written_to_cannot_be_killed_and_says_so(
    recorded: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded("running")
    run.request_cancel("somebody")
    monkeypatch.setattr(RunDirectory, "cancel_now_file", property(lambda self: self.path / "not/there"))
    async with opened(recorded.folder, run=run) as pilot:
        await until_text(pilot, "RUNNING")
        await at_rest(pilot)
        await pilot.press("x")
        await until_text(pilot, "Kill it")
        await pilot.press("k")
        await until_text(pilot, "the run directory cannot be written")
