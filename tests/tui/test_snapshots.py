"""What every screen looks like in every state, from recorded runs: as text to be read, and a few with their colours."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from repro_tui.pipeline.preview import Blocker, EngineAnswer, Need, Preview
from repro_tui.tui.settings import Settings
from tests.cli.project import Project
from tests.tui.conftest import Recordings
from tests.tui.pilots import SMALL, WIDE, at_rest, opened, until_screen, until_text
from tests.tui.record import NOW
from tests.tui.snapshots import SNAPSHOTS, compare, svg_of, text_of

SIZES = {"80x24": SMALL, "120x40": WIDE}
ENDS = ("reproduced", "differs", "drift", "failed", "cancelled", "inconclusive", "died")
WORDS = {
    "reproduced": "2 output digests", "differs": "METRICS DIFFER", "drift": "ENVIRONMENT DRIFT",
    "failed": "math domain error", "cancelled": "CANCELLED", "inconclusive": "INCONCLUSIVE", "died": "DIED",
    "running": "RUNNING", "series": "INCONCLUSIVE", "series-running": "RUNNING",
}  # fmt: skip
MAX_BYTES = 3_000_000


@pytest.fixture
def place(clock: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recordings]:
    """Return recordings in a folder whose name is always as long, on a machine with two processors."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    folder = Path(tempfile.mkdtemp(prefix="rt-", dir="/tmp"))
    recordings = Recordings(folder / "runs")
    yield recordings
    recordings.close()
    shutil.rmtree(folder)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("state", [*ENDS, "running", "series-running", "series"])
async def test_run_and_verdict(state: str, size: str, place: Recordings) -> None:
    async with opened(place.folder, run=place(state), size=SIZES[size]) as pilot:
        await until_text(pilot, WORDS[state])
        await at_rest(pilot)
        if state != "series":
            compare(f"run-{state}-{size}.txt", text_of(pilot.app))
        if state not in {*ENDS, "series"}:
            return
        await pilot.press("o")
        await until_screen(pilot, "verdict")
        await at_rest(pilot)
        compare(f"verdict-{state}-{size}.txt", text_of(pilot.app))


async def test_run_one_pane_at_a_time(place: Recordings) -> None:
    async with opened(place.folder, run=place("running"), size=SMALL) as pilot:
        await until_text(pilot, "RUNNING", "step 25/60")
        for pane in ("1", "3", "4", "5"):
            await pilot.press(pane)
            await at_rest(pilot)
            compare(f"run-running-80x24-pane{pane}.txt", text_of(pilot.app))


@pytest.mark.parametrize("size", SIZES)
async def test_compare(size: str, place: Recordings) -> None:
    place("reproduced")
    async with opened(place.folder, run=place("drift"), size=SIZES[size]) as pilot:
        await until_text(pilot, WORDS["drift"])
        await pilot.press("o")
        await until_screen(pilot, "verdict")
        await until_text(pilot, "Checks")
        await pilot.press("c")
        await until_screen(pilot, "compare")
        await at_rest(pilot)
        compare(f"compare-{size}.txt", text_of(pilot.app))


@pytest.mark.parametrize("size", SIZES)
async def test_home(size: str, place: Recordings) -> None:
    for state in (*ENDS[:-1], "running"):
        place(state)
    async with opened(place.folder, folder=place.folder, size=SIZES[size]) as pilot:
        await until_text(pilot, "REPRODUCED", "1 running, 7 in all")
        await at_rest(pilot)
        compare(f"home-{size}.txt", text_of(pilot.app))


@pytest.mark.parametrize("size", SIZES)
async def test_dialogs(size: str, place: Recordings) -> None:
    async with opened(place.folder, run=place("running"), size=SIZES[size]) as pilot:
        await until_text(pilot, "RUNNING", "step 25/60")
        for key, scope, name in (("question_mark", "help", "help"), ("q", "confirm", "q"), ("x", "confirm", "x")):
            await pilot.press(key)
            await until_screen(pilot, scope)
            await at_rest(pilot)
            compare(f"dialog-{name}-{size}.txt", text_of(pilot.app))
            await pilot.press("escape")
            await until_screen(pilot, "run")


SEEN = Preview(
    (
        Need("image", "to build", 78_600_000, "small: 6 layers", at_least=True),
        Need("train", "cached", 2_300),
        Need("weights", "to fetch", 16_800_000, "https://example.org/weights.json"),
    ),
    EngineAnswer("embedded", "local", "no daemon is needed (bubblewrap 0.11.0)"),
    (),
)
"""What stands in for this machine."""
BLOCKED = replace(
    SEEN,
    engine=EngineAnswer(),
    blockers=(Blocker("no engine works here", "apt-get install podman", "docker: no daemon answers"),),
)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("state", ["ready", "blocked", "not-locked", "series"])
async def test_plan(state: str, size: str, place: Recordings, examined: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro_tui.pipeline.preview.preview", lambda *_, **__: BLOCKED if state == "blocked" else SEEN)
    folder = place.folder.parent / "paper"
    folder.mkdir()
    project = Project(folder)
    project.write()
    if state == "not-locked":
        lines = project.manifest.read_text(encoding="utf-8").splitlines()
        project.manifest.write_text("\n".join(line for line in lines if "lock_sha256" not in line), encoding="utf-8")
    async with opened(place.folder, manifest=project.manifest, size=SIZES[size]) as pilot:
        await until_text(pilot, {"blocked": "BLOCKED", "not-locked": "NOT LOCKED"}.get(state, "READY"), "Doctor")
        if state == "series":
            await pilot.press("n", "3", "enter")
            await until_text(pilot, "Seeds: 3")
        await at_rest(pilot)
        compare(f"plan-{state}-{size}.txt", text_of(pilot.app))


@pytest.mark.parametrize("size", SIZES)
async def test_a_run_that_was_asked_to_stop_counts_down(size: str, place: Recordings) -> None:
    run = place("running")
    run.request_cancel("repro-tui cancel")
    os.utime(run.cancel_file, (NOW - 3, NOW - 3))
    async with opened(place.folder, run=run, size=SIZES[size]) as pilot:
        await until_text(pilot, "stopping, killed in 7 s")
        await at_rest(pilot)
        compare(f"run-stopping-{size}.txt", text_of(pilot.app))


async def test_a_log_that_is_empty_and_one_that_is_not_there(place: Recordings) -> None:
    run = place("running")
    run.log("train").write_bytes(b"")
    async with opened(place.folder, run=run, size=SMALL) as pilot:
        await until_text(pilot, "train has written nothing to its log.")
        await at_rest(pilot)
        compare("run-empty-log-80x24.txt", text_of(pilot.app))
        await pilot.press("1", "up", "up", "enter")
        await until_text(pilot, "There is no log of verify.")
        await at_rest(pilot)
        compare("run-no-log-80x24.txt", text_of(pilot.app))


async def test_a_small_terminal_without_colours(place: Recordings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened(place.folder, run=place("running"), size=SMALL) as pilot:
        await until_text(pilot, "RUNNING", "step 25/60")
        await at_rest(pilot)
        compare("run-nocolour-80x24.svg", svg_of(pilot.app))


@pytest.mark.parametrize("look", ["colour", "nocolour", "ascii"])
@pytest.mark.parametrize("screen", ["run", "verdict"])
async def test_looks(screen: str, look: str, place: Recordings, monkeypatch: pytest.MonkeyPatch) -> None:
    if look == "nocolour":
        monkeypatch.setenv("NO_COLOR", "1")
    run = place("running" if screen == "run" else "differs")
    async with opened(place.folder, run=run, preferences=Settings(ascii=look == "ascii")) as pilot:
        await until_text(pilot, "RUNNING" if screen == "run" else "METRICS DIFFER")
        await at_rest(pilot)
        if screen == "verdict":
            await pilot.press("o")
            await until_screen(pilot, "verdict")
            await until_text(pilot, "Checks")
            await at_rest(pilot)
        text = text_of(pilot.app)
        if look == "ascii":
            assert text.isascii(), sorted({letter for letter in text if not letter.isascii()})
            compare(f"{screen}-ascii-120x40.txt", text)
        else:
            compare(f"{screen}-{look}-120x40.svg", svg_of(pilot.app))


def test_they_stay_small() -> None:
    assert sum(file.stat().st_size for file in SNAPSHOTS.iterdir()) < MAX_BYTES
