"""The first line of a run: which, how it stands, what it does, for how long; and the strips of a small terminal."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from repro_tui.runs import words
from repro_tui.runs.state import RunState

SILENT_S = 90.0
"""After so long without a word from a stage that runs, the header says so."""

GRACE_S = 10.0
"""How long a training may take to end by itself; the worker keeps to it."""

STYLES = {
    "RUNNING": "bold cyan",
    "STARTING": "bold cyan",
    "CANCELLING": "bold yellow",
    "REPRODUCED": "bold green",
    "METRICS DIFFER": "bold red",
    "ENVIRONMENT DRIFT": "bold red",
    "FAILED": "bold red",
    "DIED": "bold red",
    "INCONCLUSIVE": "bold yellow",
    "CANCELLED": "bold yellow",
}
"""Colour only repeats what the word says."""


def standing(state: RunState, *, died: bool) -> str:
    """Return the one word for a run."""
    if state.verdict is not None:
        return state.verdict.value
    if died:
        return "DIED"
    if state.cancel_requested_by:
        return "CANCELLING"
    return "RUNNING" if state.started_at is not None else "STARTING"


def clock(seconds: float) -> str:
    """Return hours, minutes and seconds."""
    whole = max(0, int(seconds))
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def headline(
    state: RunState, *, died: bool, now: float, left_s: float | None = None, extra: str = "", seed: str = ""
) -> Text:
    """Return the line; `extra` is a word that must not be missed, like a countdown; `seed`: which of a series it is."""
    word = standing(state, died=died)
    line = Text(no_wrap=True, overflow="ellipsis")
    name = words.printable(state.experiment or state.run_id or "starting")
    line.append(f" {name}{f' seed {seed}' if seed else ''}  ", style="bold")
    line.append(f" {word} ", style=f"reverse {STYLES[word]}")
    stage = state.current_stage
    until = state.finished_at if state.finished_at is not None else (state.last_at if died else now)
    if state.started_at is not None and until is not None:
        line.append(f"  {clock(until - state.started_at)}")
    if extra:
        line.append("  ")
        line.append(f" {extra} ", style="reverse bold yellow")
    if stage is not None and not died:
        parts = [f"{stage.name}: {stage.text}" if state.task_stage and stage.text else stage.name, words.amount(stage)]
        if stage.total:
            parts.append(f"{100 * min(stage.done, stage.total) // stage.total} %")
        if left_s is not None:
            parts.append(f"about {words.duration(left_s)} left")
        line.append("  " + "  ".join(part for part in parts if part))
        if stage.name in {"train", "evaluate"}:
            line.append(f"  {words.numbers(state)}", style="dim")
    elif state.summary:
        line.append(f"  {words.printable(state.summary)}")
    return line


def badge(state: RunState, *, now: float, heard_at: float, cancelled_at: float | None) -> str:
    """Return the word that must not be missed: what is left until a run that was cancelled is killed; silence."""
    stage = state.current_stage
    if cancelled_at is not None:
        left_s = GRACE_S - (now - cancelled_at)
        return f"stopping, killed in {left_s:.0f} s" if left_s > 0 else "stopping"
    if stage is not None and stage.started_at is not None and now - max(heard_at, stage.started_at) >= SILENT_S:
        return f"no output for {now - max(heard_at, stage.started_at):.0f} s"
    return ""


class Headline(Static):
    """One line."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__("", id=id)
        self.ascii = False
        self._text = Text()

    def show(self, line: Text) -> None:
        """Show a line, where it is another than before."""
        if self.ascii:  # as long as before: the styles stay where they are
            line.plain = "".join(letter if letter.isascii() else "?" for letter in line.plain)
        if line != self._text:
            self._text = line
            self.update(line, layout=False)
