from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from repro_tui.runs.directory import RunDirectory
from repro_tui.tui.screens.compare import CompareScreen
from repro_tui.tui.settings import Settings
from repro_tui.tui.widgets.chart import Chart
from tests.tui.pilots import SMALL, WIDE, front, opened, until, until_screen, until_text
from tests.tui.snapshots import text_of

Recorded = Callable[[str], RunDirectory]


async def shown(pilot: Pilot[str], left: RunDirectory, right: RunDirectory) -> CompareScreen:
    pilot.app.push_screen(CompareScreen(left, right))
    await until_screen(pilot, "compare")
    await until_text(pilot, " of 3")
    return front(pilot, CompareScreen)


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_two_runs_stand_side_by_side(
    size: tuple[int, int], recorded: Recorded, tmp_path: Path, clock: float
) -> None:
    left, right = recorded("reproduced"), recorded("drift")
    async with opened(tmp_path / "runs", size=size) as pilot:
        await shown(pilot, left, right)
        texts = [text_of(pilot.app)]
        for _ in range(5):
            await pilot.press("pagedown")
            await pilot.pause(0.05)
            texts.append(text_of(pilot.app))
    text = "\n".join(texts)
    for word in (
        f"left   {left.id}  REPRODUCED", f"right  {right.id}", "left: loss (solid)", "right: loss (dashed)",
        "test/accuracy", "image manifest digest", "removed  typing-extensions (Python)", "MALLOC_ARENA_MAX (variables)",
        "0 added, 1 removed, 0 changed", "cpu model", "25.28 GB", "Hyperparameters",
    ):  # fmt: skip
        assert word in text, word


async def test_only_what_differs(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    async with opened(tmp_path / "runs", size=(120, 80)) as pilot:
        await shown(pilot, recorded("reproduced"), recorded("drift"))
        assert "artifact train" in text_of(pilot.app)
        await pilot.press("d")
        await until_text(pilot, "nothing differs", "image manifest digest")
        assert "artifact train" not in text_of(pilot.app)
        await pilot.press("d")
        await until_text(pilot, "artifact train")


async def test_the_same_environment_is_said_to_be_the_same(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    run = recorded("reproduced")
    async with opened(tmp_path / "runs", size=(120, 80)) as pilot:
        await shown(pilot, run, run)
        await until_text(pilot, "the same packages, variables, libraries and files")
        await pilot.press("left_square_bracket")
        await until_text(pilot, "there is no other run beside it")


async def test_swap_and_other_runs(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    oldest, middle, newest = recorded("reproduced"), recorded("differs"), recorded("drift")
    async with opened(tmp_path / "runs") as pilot:
        screen = await shown(pilot, middle, newest)
        await pilot.press("s")
        assert (screen.left, screen.right) == (newest, middle)
        await until_text(pilot, f"left   {newest.id}  ENVIRONMENT DRIFT")
        await pilot.press("left_square_bracket")
        assert screen.left == oldest
        await until_text(pilot, f"left   {oldest.id}  REPRODUCED")
        await pilot.press("right_square_bracket")
        assert screen.left == newest
        await pilot.press("escape")
        await until_screen(pilot, "home")


async def test_curves_metric_by_metric_and_on_a_logarithmic_scale(
    recorded: Recorded, tmp_path: Path, clock: float
) -> None:
    async with opened(tmp_path / "runs", preferences=Settings(ascii=True)) as pilot:
        screen = await shown(pilot, recorded("reproduced"), recorded("differs"))
        chart = screen.query_one(Chart)
        assert chart.ascii
        await until_text(pilot, "1 of 3", "loss")
        await pilot.press("m")
        await until_text(pilot, "2 of 3", "learning_rate")
        await pilot.press("l")
        assert chart.log_y
        await pilot.press("m", "m")
        await until_text(pilot, "1 of 3")
        await until(pilot, lambda: text_of(pilot.app).isascii())


async def test_a_run_that_came_nowhere_can_be_compared_too(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    (tmp_path / "runs" / "empty").mkdir(parents=True)
    async with opened(tmp_path / "runs", size=(120, 80)) as pilot:
        pilot.app.push_screen(CompareScreen(RunDirectory(tmp_path / "runs" / "empty"), recorded("failed")))
        await until_screen(pilot, "compare")
        await until_text(pilot, "left   empty  ", "neither run has any", "not known", "no summary")


async def test_what_likely_made_the_difference_stands_on_top(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    async with opened(tmp_path / "runs", size=(120, 40)) as pilot:
        pilot.app.push_screen(CompareScreen(recorded("reproduced"), recorded("failed")))
        await until_text(pilot, "hyperparameter rate", "part from the first step on")
        lines = text_of(pilot.app).splitlines()
        assert "the likeliest cause first" in lines[2]
        assert "hyperparameter rate  0.02  60.0" in lines[4]
        assert "not known of the right one: final metrics" in text_of(pilot.app)
