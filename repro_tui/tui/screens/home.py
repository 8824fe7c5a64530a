"""Home: the manifests of a folder and the runs there have been, looked at again every two seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.coordinate import Coordinate
from textual.markup import escape
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable, Input, OptionList, Static
from textual.widgets.option_list import Option

from repro_tui.errors import ReproError
from repro_tui.runs import words
from repro_tui.runs.catalog import RunEntry, list_runs, looks_like_a_run
from repro_tui.runs.directory import RunDirectory
from repro_tui.tui import actions
from repro_tui.tui.widgets.keyline import KeyLine
from repro_tui.tui.widgets.pins import STYLES, plain

if TYPE_CHECKING:  # what reads manifests takes as long to load as the first picture: a thread does it
    from repro_tui.manifest.finding import Found, Shelf
    from repro_tui.tui.app import ReproApp

_REFRESH_S = 2.0
_COLUMNS = ("Status", "Experiment", "Began", "Took", "Run")

_Lines = tuple[str, str, str, str, str]
"""Name, status, when, title, what it takes."""

_EMPTY = """\
There is no manifest in {folder}.

What you can do next:
  n   write a manifest from a template
  o   open a manifest, a bundle, a folder or a run directory by its path
  d   ask the doctor what this machine can run
  ?   see every key

A manifest is a TOML file that pins an experiment (docs/manifest.md).\
"""


class Looked(Message):
    """What is there now."""

    def __init__(self, manifests: Sequence[Found], entries: Sequence[RunEntry]) -> None:
        super().__init__()
        self.manifests = manifests
        self.entries = entries


class HomeScreen(Screen[None]):
    """Manifests above, runs below."""

    SCOPE = "home"
    BINDINGS: ClassVar[list[BindingType]] = list(actions.bindings("home"))
    CSS_PATH = Path(__file__).parents[1] / "styles" / "home.tcss"
    AUTO_FOCUS = ""

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path("manifests")
        self._shelf: Shelf | None = None
        self._manifests: list[Found] = []
        self._entries: list[RunEntry] = []
        self._mark: RunDirectory | None = None
        self._shown: list[_Lines] = []
        self._shape: tuple[list[str], list[int]] = ([], [])
        self._looked = False

    @property
    def _app(self) -> ReproApp:
        return cast("ReproApp", self.app)

    def compose(self) -> ComposeResult:
        """Show both lists, and the field for a path where it is asked for."""
        yield Static(id="place", markup=False)
        yield OptionList(id="manifests", classes="pane")
        yield Static(id="empty", classes="pane", markup=False)
        yield DataTable[Text](id="runs", classes="pane", cursor_type="row", zebra_stripes=False)
        yield Input(placeholder="path of a manifest, a bundle, a folder or a run directory", id="path")
        yield KeyLine()

    def on_mount(self) -> None:
        """Begin to look."""
        self._folder = self._app.opening.folder or Path("manifests").absolute()
        self.query_one("#manifests").border_title = "Manifests"
        self.query_one("#empty").border_title = "Manifests"
        runs = self.query_one("#runs", DataTable)
        runs.border_title = "Runs"
        runs.add_columns(*_COLUMNS)  # their widths are given with the rows
        self.query_one("#empty").display = False
        self._say_place()
        self.set_interval(_REFRESH_S, self._look)
        self.call_after_refresh(self._look)
        self.query_one("#manifests").focus()

    def on_screen_resume(self) -> None:
        """Come back to what is there now."""
        if self._looked:
            self._look()

    def _look(self) -> None:
        if self.is_current:
            self.run_worker(self._read, thread=True, exclusive=True, group="look")

    def _read(self) -> None:
        from repro_tui.manifest.finding import Shelf

        shelf, folder = self._shelf, self._folder
        if shelf is None or shelf.folder != folder:
            shelf = self._shelf = Shelf(folder)
        self.post_message(Looked(shelf.look(), list_runs(self._app.opening.runs)))

    def on_looked(self, message: Looked) -> None:
        """Show what is there; the cursors stay where they are."""
        self._entries = list(message.entries)
        self._manifests = list(message.manifests)
        self._show_manifests()
        self._show_runs()
        if not self._looked:
            self._looked = True
            if not self._manifests and self._entries:
                self.query_one("#runs").focus()

    # --- drawing ------------------------------------------------------------------------------------------------------

    def _say_place(self) -> None:
        text = f"repro-tui  manifests in {self._folder}  runs in {self._app.opening.runs}"
        self.query_one("#place", Static).update(Text(self._plain(text), no_wrap=True, overflow="ellipsis"))

    def _plain(self, text: str) -> str:
        return plain(text, ascii_only=self._app.ascii)

    def _show_manifests(self) -> None:
        lines = [self._lines(found) for found in self._manifests]
        if lines == self._shown and self._looked:
            return
        options = self.query_one("#manifests", OptionList)
        empty = self.query_one("#empty", Static)
        options.display, empty.display = bool(lines), not lines
        empty.update(self._plain(_EMPTY.format(folder=self._folder)))
        if options.option_count == len(lines):
            for place, each in enumerate(lines):
                options.replace_option_prompt_at_index(place, _two_lines(each))
        else:
            at = options.highlighted or 0
            options.clear_options()
            options.add_options([Option(_two_lines(each)) for each in lines])
            options.highlighted = min(at, len(lines) - 1) if lines else None
        self._shown = lines

    def _lines(self, found: Found) -> _Lines:
        """Return a manifest in words: name and last verdict, title and what it takes; or what is wrong with it."""
        from repro_tui.manifest.pin_list import gpu_words, image_words, task_words
        from repro_tui.pipeline.preview import latest

        if found.loaded is None:
            told = (found.path.name, "FAULTY", "", found.fault, "")
            if found.loose:
                told = (found.path.name, "NOT LOCKED", "", "`repro-tui lock` finds its missing pins", "")
        else:
            entry = latest(self._entries, found.name)
            status = "never run" if entry is None else entry.status
            when = "" if entry is None or entry.started_at is None else words.ago(entry.started_at, time.time())
            takes = " · ".join((task_words(found.loaded), image_words(found.loaded), gpu_words(found.loaded)))
            told = (found.name, status, when, found.loaded.manifest.experiment.title, takes)
        name, status, when, title, takes = (self._plain(word) for word in told)
        return name, status, when, title, takes

    def _show_runs(self) -> None:
        table = self.query_one("#runs", DataTable)
        rows = [self._run(entry) for entry in self._entries]
        shape = ([entry.run.id for entry in self._entries], _widths(rows))
        if shape == self._shape:
            for place, row in enumerate(rows):
                for column, cell in enumerate(row):
                    if table.get_cell_at(Coordinate(place, column)) != cell:
                        table.update_cell_at(Coordinate(place, column), cell)
        else:
            keys, widths = shape
            at = self._chosen_run()
            table.clear(columns=True)
            for label, width in zip(_COLUMNS, widths, strict=True):
                table.add_column(label, width=width)
            for key, row in zip(keys, rows, strict=True):
                table.add_row(*row, key=key)
            if at is not None and at.run.id in keys:
                table.move_cursor(row=keys.index(at.run.id))
            self._shape = shape
        live = sum(entry.status in {"running", "starting"} for entry in self._entries)
        mark = f"comparing {self._mark.id}: c on another run" if self._mark is not None else ""
        table.border_subtitle = escape(self._plain(mark)) or f"{live} running, {len(rows)} in all"

    def _run(self, entry: RunEntry) -> tuple[Text, ...]:
        began = "" if entry.started_at is None else words.ago(entry.started_at, time.time())
        took = "" if entry.duration_s is None else words.duration(entry.duration_s)
        name = f"{entry.experiment}, {entry.seeds} seed{'s' * (entry.seeds > 1)}" if entry.seeds else entry.experiment
        cells = (entry.status, name, began, took, entry.run.id)
        return tuple(Text(self._plain(cell), style=STYLES.get(cell, "")) for cell in cells)

    def _chosen_run(self) -> RunEntry | None:
        table = self.query_one("#runs", DataTable)
        if not table.row_count:
            return None
        key = table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value
        return next((entry for entry in self._entries if entry.run.id == key), None)

    # --- keys ---------------------------------------------------------------------------------------------------------

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open a manifest."""
        self._app.show_plan(self._manifests[event.option_index].path)

    def on_data_table_row_selected(self) -> None:
        """Open a run."""
        self.action_open_chosen()

    def action_open_chosen(self) -> None:
        """Open what the cursor is on in the list that has the focus."""
        options = self.query_one("#manifests", OptionList)
        if self.query_one("#runs").has_focus:
            entry = self._chosen_run()
            if entry is not None:
                self._app.open_run(entry.run, entry.status)
        elif options.highlighted is not None and options.highlighted < len(self._manifests):
            self._app.show_plan(self._manifests[options.highlighted].path)

    def action_ask_path(self) -> None:
        """Ask for a path."""
        field = self.query_one("#path", Input)
        field.display = True
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Open what is at a path."""
        if not event.value.strip():
            self.action_back()
            return
        path = Path(event.value.strip()).expanduser().absolute()
        if path.is_dir() and looks_like_a_run(path):
            self._app.show_run(RunDirectory(path))
        elif path.is_dir():
            self._folder = path
            self._say_place()
            self._look()
        elif path.exists():
            self.notify("looking at it …", timeout=2)
            self.run_worker(lambda: self._open_file(path), thread=True, group="open")
        else:
            self.notify(f"there is nothing at {path}", severity="error", markup=False)
            return
        self.action_back()

    def _open_file(self, path: Path) -> None:
        """Open a manifest, or a bundle, every byte of which is checked first; in a thread."""
        from repro_tui.tui.starting import bundle

        try:
            opened = bundle(path)
        except ReproError as error:
            self.app.call_from_thread(self._app.explain, error)
            return
        if opened is None:
            self.app.call_from_thread(self._app.show_plan, path)
        else:
            show = partial(self._app.show_plan, opened.manifest, mirrors=opened.mirrors, offline=True)
            self.app.call_from_thread(show)

    @work
    async def action_new(self) -> None:
        """Write a manifest from a template, and go to its plan."""
        from repro_tui.tui.screens.template import TemplateScreen

        made = await self.app.push_screen_wait(TemplateScreen(self._app.opening.folder or Path.cwd()))
        if made is not None:
            self._app.show_plan(made)

    def action_compare(self) -> None:
        """Mark a run, or compare the marked one with this."""
        entry = self._chosen_run()
        if entry is None:
            return
        mark, self._mark = self._mark, entry.run if self._mark is None else None
        if mark is not None and mark != entry.run:
            self._app.show_compare(mark, entry.run)
        self._show_runs()

    def action_doctor(self) -> None:
        """Ask the doctor."""
        from repro_tui.tui.screens.doctor import DoctorScreen

        self.app.push_screen(DoctorScreen(self._app.opening.runs))

    def action_refresh(self) -> None:
        """Read everything again."""
        if self._shelf is not None:
            self._shelf.forget()
        self._look()

    def action_back(self) -> None:
        """Close the field, take the mark away, or leave."""
        field = self.query_one("#path", Input)
        if field.display:
            field.display = False
            field.clear()
            self.query_one("#manifests" if self._manifests else "#runs").focus()
        elif self._mark is not None:
            self._mark = None
            self._show_runs()
        elif len(self.app.screen_stack) > 1:
            self.app.pop_screen()


def leave(screen: Screen[None]) -> None:
    """Go back to the screen before; from the first one, to home."""
    if len(screen.app.screen_stack) > 1:
        screen.app.pop_screen()
    else:
        screen.app.switch_screen(HomeScreen())


def _widths(rows: Sequence[Sequence[Text]]) -> list[int]:
    """Return how wide each column must be."""
    return [max(len(label), *(row[place].cell_len for row in rows), 0) for place, label in enumerate(_COLUMNS)]


def _two_lines(lines: _Lines) -> Table:
    """Return a manifest on two lines."""
    name, status, when, title, takes = lines
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(Text(name, style="bold"), Text.assemble((status, STYLES.get(status, "")), f"  {when}" if when else ""))
    grid.add_row(Text(f"  {title}"), Text(takes, style="dim"))
    return grid
