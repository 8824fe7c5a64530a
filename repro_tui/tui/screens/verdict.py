"""Verdict: how a run ended, check by check; what drifted first, by name; where it ran."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.markup import escape
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable, Static

from repro_tui.errors import ReproError
from repro_tui.pipeline.preview import earlier
from repro_tui.report import series
from repro_tui.report.json import read as read_report
from repro_tui.report.model import Report, SeriesReported
from repro_tui.runs import outcome, words
from repro_tui.runs.catalog import list_runs, looks_like_a_run, read_entry
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.reader import RunReader
from repro_tui.runs.state import RunState
from repro_tui.tui import actions
from repro_tui.tui.screens.home import leave
from repro_tui.tui.widgets.banner import large
from repro_tui.tui.widgets.keyline import KeyLine
from repro_tui.tui.widgets.pins import STYLES, Sheet, plain

if TYPE_CHECKING:
    from repro_tui.tui.app import ReproApp

_REFRESH_S = 2.0
_MAX_REPORT_BYTES = 1 << 20
WIDE = 100
_DIFFERENCES = 8
_PARTS = ("failure", "drift", "over-seeds", "checks", "claims", "classes", "confusion", "where")


class Read(Message):
    """A run as it is on disk; the report is None where there is none."""

    def __init__(self, state: RunState, report: Report | None, *, died: bool) -> None:
        super().__init__()
        self.state = state
        self.report = report
        self.died = died


class VerdictScreen(Screen[None]):
    """One run that has ended; one that has not is looked at until it has."""

    SCOPE = "verdict"
    BINDINGS: ClassVar[list[BindingType]] = list(actions.bindings("verdict"))
    CSS_PATH = Path(__file__).parents[1] / "styles" / "verdict.tcss"
    AUTO_FOCUS = ""

    def __init__(self, run: RunDirectory) -> None:
        super().__init__()
        self.run = run
        self._read: Read | None = None

    @property
    def _app(self) -> ReproApp:
        return cast("ReproApp", self.app)

    def compose(self) -> ComposeResult:
        """Show the word, then the tables, each only where there is something in it."""
        yield Static(id="title", markup=False)
        with VerticalScroll(id="body"):
            yield Static(id="word", markup=False)
            yield Static(id="summary", markup=False)
            yield Sheet("What went wrong", id="failure")
            yield Sheet("What differs, the first one first", id="drift")
            yield DataTable[Text](id="seeds", classes="pane", cursor_type="row")
            yield Sheet("Over the seeds", id="over-seeds")
            yield Sheet("Checks", id="checks")
            yield Sheet("Claims of papers (no part of the verdict)", id="claims")
            with Vertical(id="tables"):
                yield Sheet("By class", id="classes")
                yield Sheet("Confusion matrix", id="confusion")
            yield Sheet("Where it ran", id="where")
        yield KeyLine()

    def on_mount(self) -> None:
        """Begin to read."""
        for part in _PARTS:
            self._sheet(part).display = False
        seeds = self.query_one("#seeds", DataTable)
        seeds.display = False
        seeds.border_title = "Seeds"
        self.query_one("#title", Static).update(self._plain(self.run.id))
        self.query_one("#body").focus()
        self._look()
        self.set_interval(_REFRESH_S, self._look_again)

    def _look_again(self) -> None:
        if self.is_current and self._read is not None and not (self._read.state.finished or self._read.died):
            self._look()

    def _look(self) -> None:
        self.run_worker(self._read_run, thread=True, exclusive=True, group="read")

    def _read_run(self) -> None:
        reader = RunReader(self.run)
        state = reader.read_all()
        report = None
        with suppress(ReproError):
            report = read_report(self.run.report)
        self.post_message(Read(state, report, died=reader.died()))

    def on_read(self, message: Read) -> None:
        """Show what there is."""
        self._read = message
        self._draw(message)
        self.refresh_bindings()

    def on_resize(self) -> None:
        """Use the room there is."""
        if self._read is not None:
            self._draw(self._read)

    # --- drawing ------------------------------------------------------------------------------------------------------

    def _sheet(self, name: str) -> Sheet:
        return self.query_one(f"#{name}", Sheet)

    def _plain(self, text: str) -> str:
        return plain(text, ascii_only=self._app.ascii)

    def _draw_word(self, read: Read) -> None:
        word = word_of(read.state, died=read.died)
        drawn = large(word, width=self.size.width - 6, ascii_only=self._app.ascii)
        self.query_one("#word", Static).update(Text(drawn, style=STYLES.get(word, "bold"), no_wrap=True))

    def _draw(self, read: Read) -> None:
        state, report = read.state, read.report
        word = word_of(state, died=read.died)
        self.query_one("#title", Static).update(self._plain(f"{state.experiment}  {word}  {state.title}"))
        self._draw_word(read)
        summary = state.summary or ("its worker is gone without a word" if read.died else "it has not ended yet")
        code = f"  Exit code {state.exit_code}." if state.exit_code is not None else ""
        self.query_one("#summary", Static).update(self._plain(f"{word}: {summary}{code}"))
        self._fill("failure", ("", ""), list(failure_rows(report)))
        self._fill("drift", ("", ""), list(drift_rows(state)))
        self._draw_series(report.series if report is not None else None)
        rows = outcome.check_rows(state)
        self._fill_judged("checks", "check", rows, [f"{row.name}: {row.detail}" for row in rows if row.detail])
        claims = list(claim_rows(report))
        self._fill_judged("claims", "claim", claims, [f"{row.expected}: {row.detail}" for row in claims])
        for name, table in (("classes", outcome.by_class(state)), ("confusion", outcome.confusion(state))):
            self._sheet(name).display = table is not None
            if table is not None:
                right = range(1, len(table.columns))
                self._sheet(name).fill([words.printable(c) for c in table.columns], outcome.cells(table), right=right)
        self._fill("where", ("", ""), list(where_rows(self.run, state, report)))

    def _draw_series(self, reported: SeriesReported | None) -> None:
        """Show the test that decided, what it found of each metric, and each seed by itself."""
        if reported is None:
            return
        notes = [f"{each.place}/{each.name}: {each.decision}" for each in reported.metrics]
        self._fill("over-seeds", ("", "", ""), list(over_seeds_rows(reported)), notes)
        self._sheet("over-seeds").border_subtitle = escape(self._plain(series.test_words(reported)))
        table = self.query_one("#seeds", DataTable)
        table.display = True
        at = table.cursor_row
        table.clear(columns=True)
        table.add_columns(*map(self._plain, series.seed_head(reported)))
        for each, row in zip(reported.seeds, series.seed_rows(reported), strict=True):
            table.add_row(*(Text(self._plain(cell), style=STYLES.get(cell, "")) for cell in row), key=each.run)
        table.move_cursor(row=at)

    def _fill(
        self, name: str, columns: tuple[str, ...], rows: list[tuple[str, ...]], notes: list[str] | None = None
    ) -> None:
        sheet = self._sheet(name)
        sheet.display = bool(rows)
        sheet.fill(columns, rows, notes=notes or ())

    def _fill_judged(self, name: str, first: str, rows: list[outcome.Row], notes: list[str]) -> None:
        """Show checks or claims; where it is narrow, the tolerance beside what it is of, and fewer digits."""
        if self.size.width >= WIDE:
            columns: tuple[str, ...] = (first, "expected", "observed", "difference", "tolerance", "status")
            cells = [_cells(row) for row in rows]
        else:
            columns = (first, "expected", "observed", "difference", "status")
            cells = [_narrow(row) for row in rows]
        self._fill(name, columns, cells, notes)

    # --- keys ---------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Say what can be done now: a report can be read where there is one, seeds are there in a series."""
        del parameters
        if action == "seeds":
            return self._read is not None and self._read.report is not None and self._read.report.series is not None
        return self.run.report_markdown.is_file() or None if action in {"report", "copy"} else True

    def action_report(self) -> None:
        """Read the report."""
        from repro_tui.tui.screens.report import ReportScreen

        try:
            with self.run.report_markdown.open("rb") as file:
                text = file.read(_MAX_REPORT_BYTES).decode("utf-8", errors="replace")
        except OSError as error:
            self.notify(f"the report cannot be read: {error.strerror}", severity="error", markup=False)
            return
        self.app.push_screen(ReportScreen(self.run.report_markdown, text))

    def action_copy(self) -> None:
        """Copy the path of the report: the terminal does it (OSC 52), over SSH too."""
        path = str(self.run.report_markdown)
        self.app.copy_to_clipboard(path)
        self.notify(path, title="copied", timeout=3, markup=False)

    def action_log(self) -> None:
        """Go to the run."""
        before = self.app.screen_stack[-2]
        if getattr(before, "SCOPE", "") == "run" and getattr(before, "run", None) == self.run:
            self.app.pop_screen()
        else:
            self._app.show_run(self.run)

    def action_compare(self) -> None:
        """Compare with the run before."""
        before = previous(self.run)
        if before is None:
            self.notify("there is no earlier run of this experiment beside it", severity="warning")
        else:
            self._app.show_compare(before, self.run)

    def action_seeds(self) -> None:
        """Go to the seeds."""
        self.query_one("#seeds").focus()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Show how a seed ended."""
        seed = RunDirectory(self.run.seeds / Path(event.row_key.value or "").name)
        if looks_like_a_run(seed.path):
            self._app.open_run(seed, read_entry(seed).status)
        else:
            self.notify("it has no run directory: it did not begin", severity="warning")

    def action_rerun(self) -> None:
        """Start it again, and go to the new run."""
        self._app.rerun(self.run)

    def action_back(self) -> None:
        """Leave."""
        leave(self)


def word_of(state: RunState, *, died: bool) -> str:
    """Return the word for how a run ended."""
    if state.verdict is not None:
        return state.verdict.value
    return "DIED" if died else "RUNNING"


def previous(run: RunDirectory) -> RunDirectory | None:
    """Return the newest other run of the same experiment that began before this one; else any other of them."""
    mine = read_entry(run)
    others = [entry for entry in earlier(list_runs(run.path.parent), mine.experiment) if entry.run.id != run.id]
    before = [entry for entry in others if (entry.started_at or 0) <= (mine.started_at or 0)]
    return next((entry.run for entry in before or others), None)


def failure_rows(report: Report | None) -> Iterator[tuple[str, ...]]:
    """Yield why a run did not come to its end, with the remedy."""
    failure = report.failure if report is not None else None
    if failure is not None:
        for name, value in (
            ("stage", failure.stage), ("cause", failure.message), ("where", failure.where), ("to do", failure.hint),
        ):  # fmt: skip
            if value:
                yield name, value


def claim_rows(report: Report | None) -> Iterator[outcome.Row]:
    """Yield each claim beside what was observed."""
    for claim in report.claims if report is not None else ():
        printed, observed = repr(claim.claimed), "" if claim.observed is None else str(claim.observed)
        yield outcome.Row(
            name=f"{claim.place}/{claim.metric}",
            status=claim.status.value,
            expected=outcome.number(printed),
            observed=outcome.number(observed) if observed else "not measured",
            difference=outcome.difference(printed, observed),
            tolerance=f"± {claim.within:g}",
            detail=claim.source + ("" if claim.verified else " (not verified)"),
            decides=False,
        )


def over_seeds_rows(reported: SeriesReported) -> Iterator[tuple[str, ...]]:
    """Yield what the test found of each metric: its status, then each number by its name."""
    for each in reported.metrics:
        yield f"{each.place}/{each.name}", "status", each.status.value
        for name, value in series.facts(each):
            yield "", name, value


def where_rows(run: RunDirectory, state: RunState, report: Report | None) -> Iterator[tuple[str, ...]]:
    """Yield where it ran, how long, and where what it left is."""
    if state.engine is not None:
        yield "engine", f"{state.engine.engine} ({state.engine.host}): {state.engine.reason}"
    host = report.host if report is not None else {}
    for key in ("cpu_model", "cores", "memory_bytes", "gpus", "driver", "kernel"):
        value = host.get(key)
        if value:
            shown = words.size(value) if key == "memory_bytes" and isinstance(value, int) else value
            yield (
                key.removesuffix("_bytes").replace("_", " "),
                (", ".join(map(str, shown)) if isinstance(shown, list) else str(shown)),
            )
    for each in state.task_stages.values():
        yield "stages" if each.place == 1 else "", words.task_stage(each).removeprefix("stage ")
    if report is not None:
        yield "began", report.run.started or "not known"
    if state.timings_s:
        slow = [f"{name} {words.duration(s)}" for name, s in state.timings_s.items() if s >= 1]
        yield "took", f"{words.duration(sum(state.timings_s.values()))}" + (f" ({', '.join(slow)})" if slow else "")
    yield "report", str(run.report_markdown) if run.report_markdown.is_file() else "there is none"
    yield "run directory", str(run.path)


def drift_rows(state: RunState) -> Iterator[tuple[str, ...]]:
    """Yield what does not hold, what drifted first at the top."""
    found = outcome.drifts(state)
    for place, check in enumerate(found[:_DIFFERENCES]):
        yield "first" if place == 0 else "then", outcome.drift_words(check)
    if len(found) > _DIFFERENCES:
        yield "then", f"{len(found) - _DIFFERENCES} more"


def _cells(row: outcome.Row) -> tuple[str, ...]:
    name = row.name if row.decides or not row.component else f"{row.name} (informs)"
    return name, row.expected or "-", row.observed or "-", row.difference or "-", row.tolerance or "-", row.status


def _narrow(row: outcome.Row) -> tuple[str, ...]:
    name, expected, observed, difference, tolerance, status = _cells(row)
    if tolerance not in {"-", "bit for bit"}:
        expected = f"{expected} {tolerance}"
    expected, observed = (f"{text[:8]}…" if text.endswith("…") else text for text in (expected, observed))
    return name, expected, observed, difference, status
