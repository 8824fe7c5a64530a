"""A live display of a run on a terminal, by rich: stages with how far they are, numbers, checks as they come."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from repro_tui.events import CheckStatus, EngineChosen, Event, Notice
from repro_tui.runs import words
from repro_tui.runs.state import RunState, Stage

_REFRESH_INTERVAL_S = 0.25
_STYLES = {
    "running": "bold",
    "waiting": "dim",
    "skipped": "dim",
    "passed": "green",
    "cached": "green",
    "failed": "red",
    "cancelled": "yellow",
    "match": "green",
    "within tolerance": "green",
    "differs": "red",
    "unverifiable": "yellow",
    "not run": "dim",
}
"""Colour only repeats what the word says."""


class LiveReporter:
    """Draws the state four times a second at most; notices scroll by above."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._drawn_at = 0.0
        self._pace = words.Pace()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the last picture standing, and the terminal as it was."""
        self._live.stop()

    def event(self, event: Event) -> None:
        """Print what is to stay above the display; the rest is in the state."""
        if isinstance(event, EngineChosen):
            self.message(f"engine {event.engine} ({event.reason})")
        elif isinstance(event, Notice):
            self.message(words.notice(event))

    def show(self, state: RunState) -> None:
        """Draw the state, unless it was drawn a moment ago; the last one always."""
        now = time.monotonic()
        if now - self._drawn_at >= _REFRESH_INTERVAL_S or state.finished:
            self._drawn_at = now
            self._live.update(_picture(state, time.time(), self._pace), refresh=True)

    def message(self, text: str) -> None:
        """Print something above the display."""
        self._console.print(Text(words.printable(text)))


def _picture(state: RunState, now: float, pace: words.Pace) -> RenderableType:
    until = state.finished_at or now
    elapsed = words.duration(until - state.started_at) if state.started_at is not None else ""
    head = Text(words.printable(f"{state.title or 'starting'}  "), style="bold")
    head.append(words.printable(f"{state.run_id}  {elapsed}"), style="dim")
    parts: list[RenderableType] = [head, _stages(state, now, pace)]
    if state.phase or state.step:
        parts.append(_numbers(state))
    checks = [each for each in state.checks.values() if each.status is not CheckStatus.NOT_RUN]
    table = Table.grid(padding=(0, 2))
    for each in checks[-8:]:
        table.add_row(Text(each.status.value, style=_STYLES.get(each.status.value, "")), Text(words.check(each)))
    if checks:
        parts.append(table)
    return Group(*parts)


def _stages(state: RunState, now: float, pace: words.Pace) -> Table:
    table = Table.grid(padding=(0, 2))
    for stage in state.stages.values():
        word = words.status(stage)
        left_s = pace.left_s(stage, now) if stage.running else None
        table.add_row(
            Text(f"{word:9}", style=_STYLES.get(word, "")),
            Text(stage.name),
            Text(_time(stage, now), justify="right"),
            _bar(stage),
            Text(_what(state, stage, left_s), overflow="ellipsis", no_wrap=True),
        )
    return table


def _time(stage: Stage, now: float) -> str:
    if stage.elapsed_s is not None:
        return words.duration(stage.elapsed_s) if stage.elapsed_s else ""
    return words.duration(max(0.0, now - stage.started_at)) if stage.running and stage.started_at is not None else ""


def _bar(stage: Stage) -> RenderableType:
    if stage.running and stage.total:
        return ProgressBar(total=stage.total, completed=min(stage.done, stage.total), width=20)
    return Text("")


def _what(state: RunState, stage: Stage, left_s: float | None) -> str:
    return words.progress(state, stage, left_s) if stage.running else words.printable(stage.detail)


def _numbers(state: RunState) -> Text:
    parts = [words.numbers(state)]
    if state.resources is not None:
        parts.append(f"CPU {state.resources.cpu_percent:.0f} %, memory {words.size(state.resources.memory_bytes)}")
        parts += [words.gpu(sample) for sample in state.resources.gpus]
    return Text("  ".join(part for part in parts if part), style="cyan")
