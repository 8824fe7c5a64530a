"""Compare: two runs side by side, from what is in their run directories; what likely made the difference on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.markup import escape
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from repro_tui.report.compare import Environments, environments, hosts
from repro_tui.report.explain import text as explained
from repro_tui.report.explain.explain import explain_runs
from repro_tui.report.explain.model import Explanation
from repro_tui.runs import compare, words
from repro_tui.runs.catalog import RunEntry, list_runs, read_entry
from repro_tui.runs.compare import Pair
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.reader import read_state
from repro_tui.runs.state import RunState
from repro_tui.tui import actions
from repro_tui.tui.screens.home import leave
from repro_tui.tui.widgets.chart import Chart, Curve
from repro_tui.tui.widgets.keyline import KeyLine
from repro_tui.tui.widgets.pins import Sheet, plain

if TYPE_CHECKING:
    from repro_tui.tui.app import ReproApp

_COLUMNS = ("", "left", "right", "difference")
_SHEETS = ("metrics", "hyperparameters", "pins", "environment", "hardware", "times")
_CAUSES_SHOWN = 6
_DETAILS_SHOWN = 4
_TITLES = ("Metrics", "Hyperparameters", "Pins", "Environment", "Hardware", "Times")


@dataclass(frozen=True, slots=True)
class Compared:
    """Two runs, read."""

    entries: tuple[RunEntry, RunEntry]
    states: tuple[RunState, RunState]
    parts: dict[str, Sequence[Pair]]
    environments: Environments


class Ready(Message):
    """Both runs are read; `asked` is which question this answers."""

    def __init__(self, asked: int, compared: Compared) -> None:
        super().__init__()
        self.asked = asked
        self.compared = compared


class Explained(Message):
    """Why both differ; it may have taken a while, where data was compared row by row."""

    def __init__(self, asked: int, explanation: Explanation) -> None:
        super().__init__()
        self.asked = asked
        self.explanation = explanation


class CompareScreen(Screen[None]):
    """A run on the left, a run on the right."""

    SCOPE = "compare"
    BINDINGS: ClassVar[list[BindingType]] = list(actions.bindings("compare"))
    CSS_PATH = Path(__file__).parents[1] / "styles" / "compare.tcss"
    AUTO_FOCUS = ""

    def __init__(self, left: RunDirectory, right: RunDirectory) -> None:
        super().__init__()
        self.left = left
        self.right = right
        self.only_differences = False
        self._metric = 0
        self._asked = 0
        self._compared: Compared | None = None

    @property
    def _app(self) -> ReproApp:
        return cast("ReproApp", self.app)

    def compose(self) -> ComposeResult:
        """Show what likely made the difference, the curves, then a sheet a kind."""
        yield Static(id="title", markup=False)
        with VerticalScroll(id="body"):
            yield Sheet("What differs, the likeliest cause first", id="causes")
            with Vertical(id="curves", classes="pane"):
                yield Chart(id="chart")
            for name, title in zip(_SHEETS, _TITLES, strict=True):
                yield Sheet(title, id=name)
        yield KeyLine()

    def on_mount(self) -> None:
        """Begin to read."""
        self.query_one("#body").focus()
        self.query_one(Chart).ascii = self._app.ascii
        self._look()

    def _look(self) -> None:
        self._asked += 1
        asked, left, right = self._asked, self.left, self.right
        self.query_one("#causes", Sheet).say("being compared")
        title = f"left   {left.id}\nright  {right.id}"
        self.query_one("#title", Static).update(plain(title, ascii_only=self._app.ascii))
        self.run_worker(lambda: self._read(asked, left, right), thread=True, group="read")

    def _read(self, asked: int, left: RunDirectory, right: RunDirectory) -> None:
        one, other = read_state(left), read_state(right)
        parts: dict[str, Sequence[Pair]] = {
            "metrics": compare.metrics(one, other),
            "hyperparameters": compare.hyperparameters(left, right),
            "pins": compare.pins(one, other),
            "hardware": hosts(left, right),
            "times": compare.times(one, other),
        }
        entries = (read_entry(left), read_entry(right))
        self.post_message(Ready(asked, Compared(entries, (one, other), parts, environments(left, right))))
        self.post_message(Explained(asked, explain_runs(left, right)))

    def on_ready(self, message: Ready) -> None:
        """Show both, unless others were asked for meanwhile."""
        if message.asked == self._asked:
            self._compared = message.compared
            self._draw(message.compared)

    def on_explained(self, message: Explained) -> None:
        """Show why, unless others were asked for meanwhile."""
        if message.asked == self._asked:
            self._draw_causes(message.explanation)

    # --- drawing ------------------------------------------------------------------------------------------------------

    def _draw(self, compared: Compared) -> None:
        lines = [
            f"{side:5}  {_headline(entry)}" for side, entry in zip(("left", "right"), compared.entries, strict=True)
        ]
        self.query_one("#title", Static).update(plain("\n".join(lines), ascii_only=self._app.ascii))
        for name, pairs in compared.parts.items():
            sheet = self.query_one(f"#{name}", Sheet)
            differing = sum(not pair.same for pair in pairs)
            shown = [pair for pair in pairs if not (self.only_differences and pair.same)]
            sheet.border_subtitle = f"{differing} of {len(pairs)} differ" if differing else "the same"
            if shown:
                sheet.fill(_COLUMNS, [_row(pair) for pair in shown])
            else:
                sheet.say("nothing differs" if pairs else "neither run has any")
        self._draw_environment(compared.environments)
        self._draw_curves(compared)

    def _draw_causes(self, explanation: Explanation) -> None:
        sheet = self.query_one("#causes", Sheet)
        causes = [cause for cause in explanation.causes if cause.weight]
        notes = []
        if causes:
            notes = [causes[0].why, *(f"  {line}" for line in causes[0].details[:_DETAILS_SHOWN])]
        notes += [f"{explained.named(cause)}: {cause.why}" for cause in explanation.causes if not cause.weight]
        if explanation.parting is not None:
            notes += explained.parting_lines(explanation.parting)
        notes += [f"{each.name}: {each.spread}" for each in explanation.outcomes if each.within_spread is not None]
        notes += [f"not known {line}" for line in explanation.unknown]
        more = len(causes) - _CAUSES_SHOWN
        sheet.border_subtitle = f"and {more} more in `repro-tui diff`" if more > 0 else ""
        if causes:
            rows = [(explained.named(cause), cause.left or "-", cause.right or "-") for cause in causes[:_CAUSES_SHOWN]]
            sheet.fill(("", "left", "right"), rows, notes=notes)
        else:
            sheet.say("\n".join([explained.verdict(explanation), *notes]))

    def _draw_environment(self, found: Environments) -> None:
        sheet = self.query_one("#environment", Sheet)
        if found.unknown or found.same:
            sheet.border_subtitle = "not known" if found.unknown else "the same"
            sheet.say(found.unknown or "the same packages, variables, libraries and files, by their hashes")
            return
        rows = [("added", pair.name, "-", pair.right) for pair in found.added]
        rows += [("removed", pair.name, pair.left, "-") for pair in found.removed]
        rows += [("changed", pair.name, pair.left, pair.right + _note(pair)) for pair in found.changed]
        rows += [("other", pair.name, pair.left or "-", pair.right or "-") for pair in found.other]
        counts = {"added": found.added, "removed": found.removed, "changed": found.changed}
        sheet.border_subtitle = "packages: " + ", ".join(f"{len(pairs)} {word}" for word, pairs in counts.items())
        sheet.fill(("", "what", "left", "right"), rows)

    def _draw_curves(self, compared: Compared) -> None:
        curves = compare.curves(*compared.states)
        box = self.query_one("#curves")
        box.display = bool(curves)
        if not curves:
            return
        name, one, other = curves[self._metric % len(curves)]
        drawn = [
            Curve(f"{side}: {name}", list(series))
            for side, series in (("left", one), ("right", other))
            if series is not None
        ]
        self.query_one(Chart).show(drawn)
        box.border_title = escape(plain(name, ascii_only=self._app.ascii))
        box.border_subtitle = f"{self._metric % len(curves) + 1} of {len(curves)}"

    # --- keys ---------------------------------------------------------------------------------------------------------

    def action_differences(self) -> None:
        """Show only what differs, or everything."""
        self.only_differences = not self.only_differences
        if self._compared is not None:
            self._draw(self._compared)

    def action_swap(self) -> None:
        """Change sides."""
        self.left, self.right = self.right, self.left
        self._look()

    def action_other(self, step: int) -> None:
        """Take another run of the left one's folder to the left side."""
        runs = [entry.run for entry in list_runs(self.left.path.parent) if entry.run.id != self.right.id]
        ids = [run.id for run in runs]
        if self.left.id not in ids or len(ids) < 2:
            self.notify("there is no other run beside it", severity="warning")
            return
        self.left = runs[(ids.index(self.left.id) + step) % len(runs)]
        self._look()

    def action_next_metric(self) -> None:
        """Draw the next metric."""
        self._metric += 1
        if self._compared is not None:
            self._draw_curves(self._compared)

    def action_log_scale(self) -> None:
        """Change the scale."""
        chart = self.query_one(Chart)
        chart.log_y = not chart.log_y

    def action_back(self) -> None:
        """Leave."""
        leave(self)


def _headline(entry: RunEntry) -> str:
    took = f"  {words.duration(entry.duration_s)}" if entry.duration_s is not None else ""
    return f"{entry.run.id}  {entry.status}{took}"


def _row(pair: Pair) -> tuple[str, str, str, str]:
    difference = pair.difference or ("same" if pair.same else "other")
    return pair.name, pair.left or "-", pair.right or "-", difference


def _note(pair: Pair) -> str:
    return f" ({pair.difference})" if pair.difference else ""
