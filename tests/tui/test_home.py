from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.widgets import DataTable, Input, OptionList

from repro_tui.runs.directory import RunDirectory
from repro_tui.tui.screens.compare import CompareScreen
from repro_tui.tui.screens.home import HomeScreen
from repro_tui.tui.screens.plan import PlanScreen
from repro_tui.tui.screens.run import RunScreen
from repro_tui.tui.screens.verdict import VerdictScreen
from repro_tui.tui.settings import Settings
from tests.tui.pilots import SMALL, WIDE, front, opened, until, until_screen, until_text


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_manifests_and_runs_are_listed(
    size: tuple[int, int], manifests: Path, tmp_path: Path, recorded: Callable[[str], RunDirectory], clock: float
) -> None:
    for state in ("reproduced", "running"):
        recorded(state)
    (manifests / "broken.toml").write_text("schema = 1\n")
    async with opened(tmp_path / "runs", folder=manifests, size=size) as pilot:
        await until_text(pilot, "plain-pytorch", "never run", "1 GPU", "broken.toml", "FAULTY", "text classification")
        await until_text(pilot, "REPRODUCED", "running", "1 running, 2 in all")


async def test_without_manifests_it_says_what_to_do_next(tmp_path: Path) -> None:
    async with opened(tmp_path / "runs", size=SMALL) as pilot:
        await until_text(pilot, "There is no manifest in", "open a manifest", "ask the doctor", "0 running, 0 in all")
        await pilot.press("enter", "c")
        assert isinstance(pilot.app.screen, HomeScreen), "with nothing to open nothing happens"


async def test_enter_opens_a_manifest_as_a_plan_and_escape_comes_back(
    manifests: Path, tmp_path: Path, examined: None
) -> None:
    async with opened(tmp_path / "runs", folder=manifests) as pilot:
        await until_text(pilot, "sst2-minilm")
        await pilot.press("down", "enter")
        await until_screen(pilot, "plan")
        assert front(pilot, PlanScreen).manifest == manifests / "reuters-r8-minilm-cuda.toml"
        await pilot.press("escape")
        await until_screen(pilot, "home")


async def test_enter_opens_a_run_as_it_is_or_as_it_ended(
    tmp_path: Path, recorded: Callable[[str], RunDirectory], clock: float
) -> None:
    running, failed = recorded("running"), recorded("failed")
    async with opened(tmp_path / "runs") as pilot:
        await until_text(pilot, "1 running, 2 in all")
        assert pilot.app.screen.query_one("#runs").has_focus, "where there is no manifest the runs are first"
        await pilot.press("enter")
        await until_screen(pilot, "run")
        assert front(pilot, RunScreen).run == running
        await pilot.press("escape")
        await until_screen(pilot, "home")
        await pilot.press("down", "enter")
        await until_screen(pilot, "verdict")
        assert front(pilot, VerdictScreen).run == failed


async def test_a_click_opens_too(manifests: Path, tmp_path: Path, examined: None) -> None:
    async with opened(tmp_path / "runs", folder=manifests) as pilot:
        await until_text(pilot, "plain-pytorch")
        await pilot.click(OptionList, offset=(5, 1))
        await until_screen(pilot, "plan")


async def test_two_runs_are_marked_and_compared(
    tmp_path: Path, recorded: Callable[[str], RunDirectory], clock: float
) -> None:
    older, newer = recorded("reproduced"), recorded("drift")
    async with opened(tmp_path / "runs") as pilot:
        await until_text(pilot, "2 in all")
        await pilot.press("c")
        await until_text(pilot, f"comparing {newer.id}")
        await pilot.press("escape")
        await until_text(pilot, "2 in all")
        await pilot.press("c", "down", "c")
        await until_screen(pilot, "compare")
        screen = front(pilot, CompareScreen)
        assert (screen.left, screen.right) == (newer, older)


async def test_a_path_opens_what_is_there(
    manifests: Path, tmp_path: Path, recorded: Callable[[str], RunDirectory], clock: float, examined: None
) -> None:
    run = recorded("cancelled")
    async with opened(tmp_path / "nowhere") as pilot:
        await until_text(pilot, "There is no manifest")
        await pilot.press("o")
        field = pilot.app.screen.query_one("#path", Input)
        assert field.has_focus
        await pilot.press("escape")
        assert not field.display
        for path, scope in ((tmp_path / "no", "home"), (run.path, "run"), (manifests / "sst2-minilm.toml", "plan")):
            await pilot.press("o")
            field.value = str(path)
            await pilot.press("enter")
            await until_screen(pilot, scope)
            await pilot.press("escape")
            await until_screen(pilot, "home")
        await pilot.press("o")
        field.value = str(manifests)
        await pilot.press("enter")
        await until_text(pilot, "reuters-r8-minilm")


@pytest.fixture
def changed(bundle: Path, tmp_path: Path) -> Path:
    """Return the bundle with one bit of it turned."""
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / "changed.repro.tar"
    path.write_bytes(content)
    return path


async def test_a_bundle_is_checked_and_opened_as_a_plan(
    bundle: Path, changed: Path, tmp_path: Path, examined: None
) -> None:
    async with opened(tmp_path / "runs") as pilot:
        field = pilot.app.screen.query_one("#path", Input)
        await pilot.press("o")
        field.value = str(changed)
        await pilot.press("enter")
        await until_text(pilot, "error", "changed.repro.tar")
        await pilot.press("o")
        field.value = str(bundle)
        await pilot.press("enter")
        await until_screen(pilot, "plan")
        await until_text(pilot, "A tiny experiment", "Offline: yes")


async def test_the_doctor_says_how_this_machine_is(tmp_path: Path, examined: None) -> None:
    async with opened(tmp_path / "runs", size=SMALL) as pilot:
        await pilot.press("d")
        await until_text(pilot, "problem", "Docker engine", "no daemon answers", "to do", "start it")
        await pilot.press("escape")
        await until_screen(pilot, "home")


async def test_it_looks_again_and_the_cursor_stays(
    tmp_path: Path, recorded: Callable[[str], RunDirectory], clock: float
) -> None:
    first = recorded("reproduced")
    async with opened(tmp_path / "runs") as pilot:
        await until_text(pilot, "1 in all")
        table = pilot.app.screen.query_one("#runs", DataTable)
        newer = recorded("drift")
        await pilot.press("f5")
        await until(pilot, lambda: table.row_count == 2)
        assert [str(key.value) for key in table.rows] == [newer.id, first.id]
        assert table.cursor_row == 1, "on the run that it was on"


async def test_ascii_draws_nothing_else(
    manifests: Path, tmp_path: Path, recorded: Callable[[str], RunDirectory], clock: float
) -> None:
    recorded("drift")
    async with opened(tmp_path / "runs", folder=manifests, size=SMALL, preferences=Settings(ascii=True)) as pilot:
        await until_text(pilot, "plain-pytorch", "ENVIRONMENT DRIFT")


async def test_a_click_chooses_a_run_and_another_one_opens_it(
    tmp_path: Path, recorded: Callable[[str], RunDirectory], clock: float
) -> None:
    older = recorded("reproduced")
    recorded("drift")
    async with opened(tmp_path / "runs") as pilot:
        await until_text(pilot, "2 in all")
        await pilot.click("#runs", offset=(5, 3))
        await pilot.press("c")
        await until_text(pilot, f"comparing {older.id}")
        await pilot.click("#runs", offset=(5, 3))
        await until_screen(pilot, "verdict")
        assert front(pilot, VerdictScreen).run == older
