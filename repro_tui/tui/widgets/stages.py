"""The stages of a run: a list to choose from, and one line of them for a small terminal."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from repro_tui.runs import words
from repro_tui.runs.state import RunState, Stage

MARKS = {
    "waiting": "..",
    "running": "RUN",
    "passed": "PASS",
    "cached": "HAVE",
    "skipped": "SKIP",
    "failed": "FAIL",
    "cancelled": "STOP",
    "died": "DIED",
}
STYLES = {
    "waiting": "dim",
    "running": "bold cyan",
    "passed": "green",
    "cached": "green",
    "skipped": "dim",
    "failed": "bold red",
    "cancelled": "yellow",
    "died": "bold red",
}
"""Colour only repeats what the word says."""


def stage_word(stage: Stage, *, died: bool = False) -> str:
    """Return the word for a stage; one that ran when its worker died has died too."""
    word = words.status(stage)
    return "died" if died and word == "running" else word


def _how_far(stage: Stage, now: float) -> str:
    if stage.running:
        if stage.total:
            return f"{100 * min(stage.done, stage.total) // stage.total} %"
        return words.duration(max(0.0, now - stage.started_at)) if stage.started_at is not None else ""
    if stage.status is None:
        return ""
    if stage.status.value == "cached":
        return "cached"
    return words.duration(stage.elapsed_s) if stage.elapsed_s else ""


def line(stage: Stage, *, now: float, died: bool = False) -> Text:
    """Return a stage on one line."""
    word = stage_word(stage, died=died)
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{MARKS[word]:4} ", style=STYLES[word])
    text.append(f"{stage.name:11} ")
    text.append(f"{_how_far(stage, now):>10}", style="dim" if word != "running" else "")
    return text


def strip(state: RunState, *, died: bool = False, chosen: str = "") -> Text:
    """Return all stages on one line, each a thing to click on; four letters a name, or eighty columns hold not all."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for stage in state.stages.values():
        word = stage_word(stage, died=died)
        name = stage.name[:5] if word == "running" else stage.name[:4]
        style = Style.parse(STYLES[word]) + Style(
            underline=stage.name == chosen, meta={"@click": f"screen.stage({stage.name!r})"}
        )
        text.append(" ")
        text.append(f"{MARKS[word]} {name}", style=style)
    return text


class Stages(OptionList):
    """The stages; choosing one (Enter, a click) posts OptionList.OptionSelected with the stage as the option's id."""

    help_group = "Panes"

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id, compact=True)
        self._drawn: dict[str, Text] = {}

    def show(self, state: RunState, *, now: float, died: bool = False) -> None:
        """Show how the stages stand; only lines that changed are drawn."""
        for stage in state.stages.values():
            text = line(stage, now=now, died=died)
            if stage.name not in self._drawn:
                self.add_option(Option(text, id=stage.name))
            elif text != self._drawn[stage.name]:
                self.replace_option_prompt(stage.name, text)
            self._drawn[stage.name] = text

    def choose(self, stage: str) -> None:
        """Put the cursor on a stage."""
        if stage in self._drawn:
            self.highlighted = self.get_option_index(stage)
