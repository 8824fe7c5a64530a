"""The line of keys: what is valid now, clicked on and pointed at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from repro_tui.runs.directory import RunDirectory
from repro_tui.tui.widgets.keyline import KeyLine
from tests.tui.pilots import SMALL, at_rest, opened, until, until_screen, until_text

Recorded = Callable[[str], RunDirectory]


async def _place(pilot: Pilot[str], label: str) -> tuple[int, int]:
    last = (await at_rest(pilot)).splitlines()[-1]
    return last.index(label), 0


async def test_a_key_is_pressed_by_a_click(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    async with opened(tmp_path / "runs", run=recorded("running"), size=SMALL) as pilot:
        await until_text(pilot, "RUNNING", "x Cancel")
        await pilot.click(KeyLine, offset=await _place(pilot, "Cancel"))
        await until_screen(pilot, "confirm")
        await pilot.press("escape")
        await until_screen(pilot, "run")
        await pilot.click(KeyLine, offset=(79, 0))
        await at_rest(pilot)
        await until_screen(pilot, "run")


async def test_pointed_at_it_says_what_it_does(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    async with opened(tmp_path / "runs", run=recorded("running"), size=SMALL) as pilot:
        await until_text(pilot, "RUNNING")
        keys = pilot.app.screen.query_one(KeyLine)
        await pilot.hover(KeyLine, offset=await _place(pilot, "Find"))
        await until(pilot, lambda: str(keys.tooltip).startswith("Find a text"))
        await pilot.hover("#headline")
        await until(pilot, lambda: keys.tooltip is None)


async def test_it_shows_what_is_valid_now(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    async with opened(tmp_path / "runs", run=recorded("reproduced"), size=SMALL) as pilot:
        await until_text(pilot, "REPRODUCED", "o Verdict", "r Rerun")
        assert "x Cancel" not in await at_rest(pilot)
    async with opened(tmp_path / "runs", run=recorded("running"), size=SMALL) as pilot:
        await until_text(pilot, "RUNNING", "x Cancel")
        assert "r Rerun" not in await at_rest(pilot)
