"""A manifest from a template, made as somebody makes it: choose, answer, and be shown its plan."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from textual.widgets import Button, Input

from repro_tui.tui.screens.plan import PlanScreen
from repro_tui.tui.screens.template import TemplateScreen
from tests.tui.pilots import SMALL, WIDE, at_rest, front, opened, until, until_screen, until_text

pytestmark = pytest.mark.usefixtures("examined")


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_a_template_with_answers_is_a_manifest_whose_plan_is_shown(size: tuple[int, int], tmp_path: Path) -> None:
    folder = tmp_path / "paper"
    folder.mkdir()
    async with opened(tmp_path / "runs", folder=folder, size=size) as pilot:
        await until_text(pilot, "n   write a manifest from a template")
        await pilot.press("n")
        await until_text(pilot, "own-script", "adversarial-pretraining", "Enter takes one")
        await pilot.press("enter")
        await until(pilot, lambda: getattr(pilot.app.focused, "id", "") == "file")
        screen = front(pilot, TemplateScreen)
        fields = list(screen.query(Input))
        for each in fields:
            if not each.value:
                each.value = "mine"
        for each in fields:
            await until(pilot, lambda each=each: pilot.app.focused is each)  # type: ignore[misc]
            await pilot.press("enter")
        await until_screen(pilot, "plan")
        await until_text(pilot, "repro")
        assert front(pilot, PlanScreen).manifest == folder / "repro.toml"
        await at_rest(pilot)
    written = tomllib.loads((folder / "repro.toml").read_text(encoding="utf-8"))
    assert written["experiment"]["title"] == "mine"


async def test_nothing_is_overwritten_and_a_wrong_answer_is_named(tmp_path: Path) -> None:
    there = tmp_path / "repro.toml"
    there.write_text("mine", encoding="utf-8")
    async with opened(tmp_path / "runs", folder=tmp_path) as pilot:
        await until_screen(pilot, "home")
        await pilot.press("n")
        await until_text(pilot, "Enter takes one")
        await pilot.press("enter")
        await until_text(pilot, "file to write")
        await pilot.click("#write")
        await until_text(pilot, "this file is there already")
        screen = front(pilot, TemplateScreen)
        file, write = screen.query_one("#file", Input), screen.query_one("#write", Button)
        assert pilot.app.focused is file
        for wrong, said in (("notes.txt", "ends in .toml"), ("no/\0.toml", "that is no path")):
            file.value = wrong
            write.press()
            await until_text(pilot, said)
        file.value = str(tmp_path / "other.toml")
        number = next(each for each in screen.query(Input) if each.value == "42")
        number.value = "many"
        write.press()
        await until_text(pilot, "'many' is no answer to")
        assert pilot.app.focused is number
        await pilot.press("escape")
        await until_screen(pilot, "home")
    assert [name for name in os.listdir(tmp_path) if name.endswith(".toml")] == ["repro.toml"]
    assert there.read_text(encoding="utf-8") == "mine"


async def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with opened(tmp_path / "runs", folder=tmp_path) as pilot:
        await until_screen(pilot, "home")
        await pilot.press("n")
        await until_text(pilot, "Enter takes one")
        await pilot.press("down", "enter")
        await until_text(pilot, "file to write")
        front(pilot, TemplateScreen).query_one("#file", Input).value = str(tmp_path / "file/repro.toml")
        await pilot.click("#write")
        await until_text(pilot, "Write it", "file")
        assert front(pilot, TemplateScreen).is_current
