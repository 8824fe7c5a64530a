"""The terminal UI without a terminal: open it on something, wait for what must come, press keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen

from repro_tui.runs.directory import RunDirectory
from repro_tui.tui.app import Opening, ReproApp, scope_of
from repro_tui.tui.settings import Settings
from tests.tui.snapshots import text_of

PATIENCE_S = 30.0
POLL_S = 0.02
WIDE = (120, 40)
SMALL = (80, 24)

_Kind = TypeVar("_Kind", bound=Screen[Any])


@asynccontextmanager
async def opened(
    runs: Path,
    *,
    run: RunDirectory | None = None,
    manifest: Path | None = None,
    folder: Path | None = None,
    size: tuple[int, int] = WIDE,
    preferences: Settings | None = None,
) -> AsyncIterator[Pilot[str]]:
    """Open the UI on a run, a manifest or a folder; it draws at once what it would draw at the next quarter second."""
    app = ReproApp(Opening(runs=runs, run=run, manifest=manifest, folder=folder), preferences or Settings())
    app.animation_level = "none"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("repro_tui.tui.screens.run.DRAW_S", POLL_S)
        patch.setattr("repro_tui.tui.widgets.chart.REDRAW_S", POLL_S)
        async with app.run_test(size=size, notifications=True) as pilot:
            yield pilot


async def idle(*_given: float) -> None:
    """Wait until the event loop has nothing to do but to wait.

    Textual's pilot looks at the processor time of the process instead, for up to a second a key: on a busy machine, or
    beside a thread that reads, it seldom finds it idle.
    """
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    give_up_at = time.monotonic() + 1.0
    for _ in range(2):  # what is due by now comes in with the first turn
        await asyncio.sleep(0)
        while ready and time.monotonic() < give_up_at:  # noqa: ASYNC110 - nothing tells that there is nothing to do
            await asyncio.sleep(0)


async def until(pilot: Pilot[Any], holds: Callable[[], object], what: str = "") -> None:
    """Wait until something holds; what is on the screen is told where it does not come to be."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at, f"{what or 'it'} did not come to be:\n{text_of(pilot.app)}"
        await asyncio.sleep(POLL_S)
    await pilot.pause()


async def until_text(pilot: Pilot[str], *words: str) -> None:
    """Wait until every one of the words is on the screen."""
    await until(pilot, lambda: all(word in text_of(pilot.app) for word in words), " and ".join(words))


async def until_screen(pilot: Pilot[str], scope: str) -> None:
    """Wait until a screen is in front."""
    await until(pilot, lambda: scope_of(pilot.app.screen) == scope, f"the screen {scope!r}")


def _quiet(app: App[str]) -> bool:
    """Say whether no thread reads or looks at anything, and no screen has something that it has not drawn."""
    return not list(_busy(app))


def _busy(app: App[str]) -> Iterator[object]:
    yield from (worker for worker in app.workers if worker._thread_worker and not worker.is_finished)
    yield from (screen for screen in app.screen_stack if not getattr(screen, "settled", True))


async def at_rest(pilot: Pilot[str]) -> str:
    """Wait until all that there is to read is read and drawn; return the screen as text."""
    give_up_at = time.monotonic() + PATIENCE_S
    before, now = "", "not yet"
    while now != before:
        while not _quiet(pilot.app):
            assert time.monotonic() < give_up_at, f"it does not come to rest: {list(_busy(pilot.app))}\n{now}"
            await asyncio.sleep(POLL_S)
        await pilot.pause()
        before, now = now, text_of(pilot.app)
        assert time.monotonic() < give_up_at, f"it does not come to rest:\n{before}\n{now}"
    return now


def front(pilot: Pilot[str], kind: type[_Kind]) -> _Kind:
    """Return the screen in front, which is one of a kind."""
    screen: Screen[Any] = pilot.app.screen
    assert isinstance(screen, kind), f"{screen} is in front"
    return screen
