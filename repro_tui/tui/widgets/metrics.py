"""The charts of a run, one at a time: the loss first, then whatever else the task tells with a step."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from repro_tui.runs.state import RunState, of_stage
from repro_tui.runs.words import printable
from repro_tui.tui.pinned import Band
from repro_tui.tui.widgets.chart import Chart, Curve

FIRST = "loss"


class Metrics(Chart, can_focus=True):
    """The chart of one series of a run."""

    help_group = "Metrics"

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.bands: Mapping[str, Band] = {}
        """What is expected, by the name of the series."""
        self.chosen = ""
        self.heading = "Metrics"
        self._names: list[str] = []
        self._chosen_by_hand = False

    def show_state(self, state: RunState) -> None:
        """Draw the chosen series as it is now."""
        first = of_stage(state.task_stage, FIRST)
        self._names = sorted(state.series, key=lambda name: (name != first, "/" in name, name))
        if not self._names:
            self.border_title = self.heading
            return
        if self.chosen not in self._names or not self._chosen_by_hand:
            self.chosen = self._names[0]
        place = self._names.index(self.chosen) + 1
        title = f"{self.heading}: {printable(self.chosen)} ({place} of {len(self._names)})"
        self.border_title = Text(title)  # no markup: a task names its series as it likes
        series = state.series[self.chosen]
        name = self.chosen.removeprefix(of_stage(state.task_stage, ""))
        band = self.bands.get(self.chosen) or self.bands.get(of_stage(state.task_stage, f"test/{name}"))
        self.show([Curve(self.chosen, list(series))], band=band)

    def step(self, by: int) -> None:
        """Choose another series; `show_state` draws it."""
        if self._names:
            place = self._names.index(self.chosen) if self.chosen in self._names else -1
            self.chosen = self._names[(place + by) % len(self._names)]
            self._chosen_by_hand = True
