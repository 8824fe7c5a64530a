"""The terminal UI without a terminal: open it on something, wait for what must come, press keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen

from repro_tui.runs.directory import RunDirectory
from repro_tui.tui.app import Opening, ReproApp, scope_of
from repro_tui.tui.settings import Settings
from tests.tui.snapshots import text_of

PATIENCE_S = 10.0
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
    """Open the UI on a run, a manifest or a folder."""
    app = ReproApp(Opening(runs=runs, run=run, manifest=manifest, folder=folder), preferences or Settings())
    app.animation_level = "none"
    async with app.run_test(size=size, notifications=True) as pilot:
        yield pilot


async def until(pilot: Pilot[str], holds: Callable[[], object], what: str = "") -> None:
    """Wait until something holds; what is on the screen is told where it does not come to be."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at, f"{what or 'it'} did not come to be:\n{text_of(pilot.app)}"
        await asyncio.sleep(0.02)
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
    before, now = "", "not yet"
    give_up_at = time.monotonic() + PATIENCE_S
    while now != before or not _quiet(pilot.app):
        assert time.monotonic() < give_up_at, f"it does not come to rest: {list(_busy(pilot.app))}\n{now}"
        await pilot.pause()
        before, now = now, text_of(pilot.app)
    return now


def front(pilot: Pilot[str], kind: type[_Kind]) -> _Kind:
    """Return the screen in front, which is one of a kind."""
    screen: Screen[Any] = pilot.app.screen
    assert isinstance(screen, kind), f"{screen} is in front"
    return screen
