from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from textual.pilot import Pilot

from repro_tui.runs.directory import RunDirectory
from repro_tui.tui import starting
from repro_tui.tui.screens.compare import CompareScreen
from repro_tui.tui.screens.run import RunScreen
from repro_tui.tui.screens.verdict import VerdictScreen, previous
from repro_tui.tui.settings import Settings
from repro_tui.tui.widgets.banner import large
from tests.tui.pilots import SMALL, WIDE, front, opened, until, until_screen, until_text
from tests.tui.snapshots import text_of

Recorded = Callable[[str], RunDirectory]


async def shown(pilot: Pilot[str], run: RunDirectory) -> VerdictScreen:
    pilot.app.push_screen(VerdictScreen(run))
    await until_screen(pilot, "verdict")
    return front(pilot, VerdictScreen)


async def all_of_it(pilot: Pilot[str], pages: int = 6) -> str:
    """Return what is on the screen, and on what comes when it is scrolled."""
    texts = [text_of(pilot.app)]
    for _ in range(pages):
        await pilot.press("pagedown")
        await pilot.pause(0.05)
        texts.append(text_of(pilot.app))
    return "\n".join(texts)


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_every_check_with_its_difference(
    size: tuple[int, int], recorded: Recorded, tmp_path: Path, clock: float
) -> None:
    run = recorded("differs")
    async with opened(tmp_path / "runs", size=size) as pilot:
        await shown(pilot, run)
        await until_text(pilot, "METRICS DIFFER:", "Exit code 1", "What differs, the first one first", "first")
        text = await all_of_it(pilot)
    for word in ("metric test/accuracy", "digest weights", "bit for bit" if size == WIDE else "same", "match", "job"):
        assert word in text
    for word in ("By class", "precision", "Confusion matrix", "Where it ran", "embedded", "AMD EPYC", "run directory"):
        assert word in text


async def test_what_drifted_first_is_named(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    run = recorded("drift")
    async with opened(tmp_path / "runs") as pilot:
        await shown(pilot, run)
        await until_text(pilot, "first  image manifest digest", "MALLOC_ARENA_MAX is 4, pinned 2", "typing-extensions")


async def test_a_failure_says_why_and_what_to_do(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    run = recorded("failed")
    async with opened(tmp_path / "runs", size=SMALL) as pilot:
        await shown(pilot, run)
        await until_text(pilot, "What went wrong", "stage  train", "math domain error", "to do  ")


@pytest.mark.parametrize(
    ("state", "word"), [("inconclusive", "INCONCLUSIVE"), ("cancelled", "CANCELLED"), ("died", "DIED")]
)
async def test_every_way_to_end_has_its_word(
    state: str, word: str, recorded: Recorded, tmp_path: Path, clock: float
) -> None:
    run = recorded(state)
    async with opened(tmp_path / "runs", preferences=Settings(ascii=True)) as pilot:
        await shown(pilot, run)
        await until_text(pilot, f"{word}:", "###")
        assert text_of(pilot.app).isascii()


async def test_the_report_is_read_here_and_its_path_copied(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    run = recorded("reproduced")
    async with opened(tmp_path / "runs") as pilot:
        await shown(pilot, run)
        await until_text(pilot, "REPRODUCED:")
        await pilot.press("o")
        await until_screen(pilot, "report")
        await until_text(pilot, "report.md", "REPRODUCED says that every pin held")
        await pilot.press("escape")
        await until_screen(pilot, "verdict")
        await pilot.press("y")
        assert pilot.app.clipboard == str(run.report_markdown)


async def test_without_a_report_there_is_none_to_read(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    run = recorded("died")
    async with opened(tmp_path / "runs") as pilot:
        screen = await shown(pilot, run)
        await until_text(pilot, "DIED:")
        assert [screen.check_action(action, ()) for action in ("report", "copy", "log")] == [None, None, True]
        await pilot.press("o", "y")
        assert front(pilot, VerdictScreen) is screen
        assert pilot.app.clipboard == ""


async def test_from_the_verdict_to_the_log_and_back(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    run = recorded("reproduced")
    async with opened(tmp_path / "runs") as pilot:
        await shown(pilot, run)
        await pilot.press("l")
        await until_screen(pilot, "run")
        assert front(pilot, RunScreen).run == run
        pilot.app.push_screen(VerdictScreen(run))
        await until_screen(pilot, "verdict")
        depth = len(pilot.app.screen_stack)
        await pilot.press("l")
        await until_screen(pilot, "run")
        assert len(pilot.app.screen_stack) == depth - 1, "back to the run that it came from"


async def test_compare_takes_the_run_before(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    alone = recorded("reproduced")
    async with opened(tmp_path / "runs") as pilot:
        await shown(pilot, alone)
        await pilot.press("c")
        await until_text(pilot, "no earlier run of this experiment")
        later = recorded("drift")
        assert previous(later) == alone
        await shown(pilot, later)
        await pilot.press("c")
        await until_screen(pilot, "compare")
        screen = front(pilot, CompareScreen)
        assert (screen.left, screen.right) == (alone, later)


async def test_rerun_starts_it_again_or_says_why_not(
    recorded: Recorded, tmp_path: Path, clock: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = recorded("reproduced"), recorded("differs")
    asked: list[RunDirectory] = []

    def rerun(again: RunDirectory) -> RunDirectory:
        asked.append(again)
        return other

    async with opened(tmp_path / "runs") as pilot:
        await shown(pilot, run)
        await pilot.press("r")
        await until_text(pilot, "error", "where:")
        assert front(pilot, VerdictScreen).run == run, "its manifest is not on this machine"
        monkeypatch.setattr(starting, "rerun", rerun)
        await pilot.press("r")
        await until_screen(pilot, "run")
    assert asked == [run]


async def test_it_follows_a_run_that_is_not_over(recorded: Recorded, tmp_path: Path) -> None:
    run, done = recorded("running"), recorded("reproduced")
    async with opened(tmp_path / "runs", size=SMALL) as pilot:
        await shown(pilot, run)
        await until_text(pilot, "RUNNING: it has not ended yet")
        run.events.write_bytes(done.events.read_bytes())
        await until_text(pilot, "REPRODUCED:")


async def test_resizing_gives_the_tables_the_room_there_is(recorded: Recorded, tmp_path: Path, clock: float) -> None:
    run = recorded("reproduced")
    async with opened(tmp_path / "runs", size=SMALL) as pilot:
        await shown(pilot, run)
        await until_text(pilot, "0.875 ± 0.001")
        await pilot.resize_terminal(*WIDE)
        await until(pilot, lambda: "tolerance" in text_of(pilot.app))


WORDS: Sequence[str] = (
    "REPRODUCED", "METRICS DIFFER", "ENVIRONMENT DRIFT", "INCONCLUSIVE", "FAILED", "CANCELLED", "DIED", "RUNNING",
)  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_every_word_fits_in_large_letters(word: str) -> None:
    drawn = large(word, width=74, ascii_only=False).splitlines()
    assert len(drawn) == 3
    assert max(map(len, drawn)) <= 74
    plain = large(word, width=74, ascii_only=True)
    assert set(plain) == {"#", " ", "\n"}
    assert len(plain.splitlines()) == 5


def test_a_word_that_does_not_fit_or_has_other_letters_stays_as_it_is() -> None:
    assert large("FAILED", width=10, ascii_only=False) == "FAILED"
    assert large("ZYX", width=80, ascii_only=False) == "ZYX"
    assert large("FI", width=80, ascii_only=True) == "### #\n#   #\n##  #\n#   #\n#   #"
    assert large("FI", width=80, ascii_only=False) == "█▀▀ █\n█▀  █\n▀   ▀"
