"""Plan: what a run of a manifest would do here, and what stands in its way; from here it is started."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Button, Input, Static

from repro_tui.doctor.finding import Finding
from repro_tui.errors import ReproError
from repro_tui.runs import words
from repro_tui.runs.catalog import list_runs
from repro_tui.tui import actions
from repro_tui.tui.planning import (
    blocker_rows,
    loose_rows,
    missing_words,
    problem_blockers,
    seeds_text,
    seeds_words,
    series_of,
    size_words,
    statistics_missing,
)
from repro_tui.tui.screens.doctor import Examined, finding_rows
from repro_tui.tui.screens.home import leave
from repro_tui.tui.widgets.keyline import KeyLine
from repro_tui.tui.widgets.pins import Sheet, grouped, plain

if TYPE_CHECKING:  # what reads manifests takes as long to load as the first picture: a thread does it
    from repro_tui.manifest.finding import Found
    from repro_tui.manifest.pin_list import PinRow
    from repro_tui.pipeline.preview import Blocker, Estimate, Preview
    from repro_tui.tui.app import ReproApp

_ENGINES = (None, "docker", "podman", "embedded")
_SEEDS = 2**32
_NETWORK = "the bundle's manifest asks for a network inside the container"


class Previewed(Message):
    """What a run would do; `asked` is how it was asked for."""

    def __init__(self, asked: int, found: Found, seen: Preview | None, took: Estimate | None) -> None:
        super().__init__()
        self.asked = asked
        self.found = found
        self.seen = seen
        self.took = took


class PlanScreen(Screen[None]):
    """Pins on one side, this machine on the other; one below the other where it is narrow."""

    SCOPE = "plan"
    BINDINGS: ClassVar[list[BindingType]] = list(actions.bindings("plan"))
    CSS_PATH = Path(__file__).parents[1] / "styles" / "plan.tcss"
    AUTO_FOCUS = ""

    def __init__(self, manifest: Path, *, mirrors: tuple[Path, ...] = (), offline: bool = False) -> None:
        super().__init__()
        self.manifest = manifest
        self.engine: str | None = None
        self.seed: int | None = None
        self.seeds: int | tuple[int, ...] | None = None
        self.offline = offline
        self._mirrors = mirrors
        self._found: Found | None = None
        self._seen: Preview | None = None
        self._took: Estimate | None = None
        self._asked = 0

    @property
    def _app(self) -> ReproApp:
        return cast("ReproApp", self.app)

    def compose(self) -> ComposeResult:
        """Show the head, what can be chosen, and the parts."""
        yield Static(id="title", markup=False)
        with Horizontal(id="choices"):
            yield Button("Start", id="start", variant="success", compact=True, disabled=True)
            yield Button("", id="engine", compact=True)
            yield Button("", id="seed", compact=True)
            yield Button("", id="seeds", compact=True)
            yield Button("", id="offline", compact=True)
        yield Input(placeholder="seed: a whole number; empty for the manifest's", id="seed-field")
        yield Input(placeholder="how many seeds, or which: 5 or 1,2,3; empty for the manifest's", id="seeds-field")
        with VerticalScroll(id="body"):
            with Vertical(id="machine", classes="column"):
                yield Sheet("Blocked", id="blocked")
                yield Sheet("What it needs", id="needs")
                yield Sheet("How it runs", id="how")
                yield Sheet("Doctor", id="doctor-findings")
            with Vertical(id="pinned", classes="column"):
                yield Sheet("Pins", id="pins")
        yield KeyLine()

    def on_mount(self) -> None:
        """Begin to look."""
        for name in ("machine", "pinned"):
            self.query_one(f"#{name}").can_focus = True
        self._sheet("doctor-findings").say("looking at this machine …")
        self.query_one("#machine").focus()
        self._show()
        self.call_after_refresh(self.action_refresh)

    def on_screen_resume(self) -> None:
        """Come back to what is cached now."""
        if self._found is not None:
            self._look()

    # --- looking ------------------------------------------------------------------------------------------------------

    def action_refresh(self) -> None:
        """Look at everything again."""
        self._look()
        self.run_worker(self._examine, thread=True, exclusive=True, group="doctor")

    def _look(self) -> None:
        self._asked += 1
        self._seen = None
        self._show()
        asked, engine, offline, seed, seeds = self._asked, self.engine, self.offline, self.seed, self.seeds

        def look() -> None:
            self._preview(asked, engine, offline, seed, seeds)

        self.run_worker(look, thread=True, group="preview")

    def _preview(
        self, asked: int, engine: str | None, offline: bool, seed: int | None, seeds: int | tuple[int, ...] | None
    ) -> None:
        from repro_tui.artifacts.store import Store, default_store_path
        from repro_tui.manifest.finding import look_at
        from repro_tui.pipeline.preview import Blocker, EngineAnswer, Preview, estimate, preview
        from repro_tui.tui.starting import mirror_folders

        found = look_at(self.manifest)
        if found.loaded is None:
            self.post_message(Previewed(asked, found, None, None))
            return
        store = Store(default_store_path())
        try:
            seen = preview(
                found.loaded, store=store, mirrors=mirror_folders(self._mirrors), engine=engine, offline=offline
            )
        except ReproError as error:
            seen = Preview((), EngineAnswer(), (Blocker(error.message, error.hint, error.where),))
        finally:
            store.close()
        wished = series_of(found.loaded, seed, seeds)
        lacking = statistics_missing(found.loaded) if wished else None
        if lacking is not None:
            seen = replace(seen, blockers=(*seen.blockers, Blocker(lacking.message, lacking.hint, lacking.where)))
        took = estimate(list_runs(self._app.opening.runs), found.name, seeds=len(wished))
        self.post_message(Previewed(asked, found, seen, took))

    def _examine(self) -> None:
        from repro_tui.doctor.examine import examine

        self.post_message(Examined(examine(self._app.opening.runs)))

    def on_previewed(self, message: Previewed) -> None:
        """Show what a run would do, unless something else was asked for meanwhile."""
        if message.asked == self._asked:
            self._found, self._seen, self._took = message.found, message.seen, message.took
            self._show()

    def on_examined(self, message: Examined) -> None:
        """Show what the doctor found."""
        self._show_doctor(message.findings)

    # --- drawing ------------------------------------------------------------------------------------------------------

    def _sheet(self, name: str) -> Sheet:
        return self.query_one(f"#{name}", Sheet)

    def _plain(self, text: str) -> str:
        return plain(text, ascii_only=self._app.ascii)

    @property
    def blockers(self) -> list[Blocker]:
        """What stands in the way, as far as it is known."""
        found = self._found
        if found is None:
            return []
        if found.loaded is None:
            return list(problem_blockers(found))
        asks = found.loaded.manifest.resources.network
        if asks and self._mirrors and self.offline:  # it came from somebody else, in a bundle
            from repro_tui.pipeline.preview import Blocker

            return [*self._blocked(), Blocker(_NETWORK, "going online (f) allows it", "resources.network")]
        return self._blocked()

    def _blocked(self) -> list[Blocker]:
        return list(self._seen.blockers) if self._seen is not None else []

    @property
    def ready(self) -> bool:
        """Say whether the run can be started."""
        return self._seen is not None and not self.blockers

    def _show(self) -> None:
        found = self._found
        loaded = found.loaded if found is not None else None
        loose = found is not None and found.loose
        state = "READY" if self.ready else "NOT LOCKED" if loose else "BLOCKED" if self.blockers else "looking …"
        name = found.name if found is not None else self.manifest.name
        title = loaded.manifest.experiment.title if loaded is not None else str(self.manifest)
        line = Text(self._plain(f"{name}  {state}  {title}"), no_wrap=True, overflow="ellipsis")
        self.query_one("#title", Static).update(line)
        self.query_one("#start", Button).disabled = not self.ready
        self.query_one("#engine", Button).label = f"Engine: {self.engine or 'by itself'}"
        own = f"{loaded.manifest.determinism.seed}" if loaded is not None else "-"
        self.query_one("#seed", Button).label = f"Seed: {own if self.seed is None else self.seed}"
        self.query_one("#seeds", Button).label = f"Seeds: {seeds_words(self.series) if self.series else 'one run'}"
        self.query_one("#offline", Button).label = f"Offline: {'yes' if self.offline else 'no'}"
        for button in self.query(Button):
            button.refresh(layout=True)
        self._show_blocked()
        if loaded is not None:
            from repro_tui.manifest.pin_list import pin_rows

            rows = [row if self.seed is None else self._reseeded(row) for row in pin_rows(loaded)]
            self._sheet("pins").fill(
                ("", "", ""), grouped((row.group, row.name, words.short(row.value)) for row in rows)
            )
        else:
            self._sheet("pins").say("shown once the manifest is whole" if found is not None else "reading …")
        self._show_needs()
        self._sheet("how").fill(("", ""), list(self._how()))
        self.refresh_bindings()

    def _reseeded(self, row: PinRow) -> PinRow:
        if (row.group, row.name) != ("determinism", "seed"):
            return row
        return row._replace(value=f"{self.seed} (the manifest says {row.value})")

    @property
    def series(self) -> tuple[int, ...]:
        """Return the seeds of the series that a start begins; none for one run."""
        loaded = self._found.loaded if self._found is not None else None
        return series_of(loaded, self.seed, self.seeds) if loaded is not None else ()

    def _show_blocked(self) -> None:
        sheet, found = self._sheet("blocked"), self._found
        sheet.display = bool(self.blockers)
        sheet.border_title = "Blocked"
        rows = list(blocker_rows(self.blockers))
        if found is not None and found.loose:
            sheet.border_title = "Not locked"
            rows = [*loose_rows(found), *rows]
        sheet.fill(("", ""), rows)

    def _show_needs(self) -> None:
        sheet, seen = self._sheet("needs"), self._seen
        sheet.display = self._found is None or self._found.loaded is not None
        if seen is None:
            sheet.say("looking …")
            return
        rows = [(need.name, need.state, size_words(need), need.detail) for need in seen.needs]
        sheet.fill(("what", "where", "size", ""), rows, right=(2,))
        sheet.border_subtitle = missing_words(seen)

    def _how(self) -> Iterator[tuple[str, str]]:
        answer = self._seen.engine if self._seen is not None else None
        if answer is not None and answer.name:
            yield "engine", f"{answer.name}: {answer.reason}"
        else:
            faulty = self._found is not None and self._found.loaded is None
            said = "looked for once the manifest is whole" if faulty else "none that works"
            yield "engine", said if self.blockers else "looking …"
        took = self._took
        if took is not None:
            spread = f", from {words.duration(took.shortest_s)} to {words.duration(took.longest_s)}"
            more = f"{took.runs} earlier runs" + spread if took.runs > 1 else "one earlier run"
            yield "time", f"about {words.duration(took.typical_s)} (by {more})"
        elif self._seen is not None:
            yield "time", "not known: there is no earlier run of it here"
        if self.series:
            yield "seeds", f"a run each of {', '.join(map(str, self.series[:8]))}{' …' * (len(self.series) > 8)}"
            yield "test", self._test()
        if self.seed is not None:
            yield "seed", "another seed: the job is not the recorded one"
        yield "runs in", str(self._app.opening.runs)

    def _test(self) -> str:
        found = self._found
        loaded = found.loaded if found is not None else None
        rule = loaded.manifest.verify if loaded is not None else None
        return rule.test if rule is not None else "every-seed"

    def _show_doctor(self, findings: Sequence[Finding]) -> None:
        sheet = self._sheet("doctor-findings")
        sheet.fill(("", "", ""), finding_rows(findings))
        wrong = sum(not finding.ok for finding in findings)
        sheet.border_subtitle = f"{wrong} to look at" if wrong else "all well"

    # --- keys ---------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Say what can be done now: a run that is blocked cannot be started."""
        del parameters
        return self.ready or None if action == "start" else True

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Do what a button says."""
        {
            "start": self.action_start,
            "engine": self.action_next_engine,
            "seed": self.action_ask_seed,
            "seeds": self.action_ask_seeds,
            "offline": self.action_toggle_offline,
        }[event.button.id or ""]()

    def action_start(self) -> None:
        """Start the run, and go to it."""
        from repro_tui.manifest.finding import look_at
        from repro_tui.tui.starting import start

        if not self.ready or self._found is None or self._found.loaded is None:
            return
        found = look_at(self.manifest)  # it may have been edited since
        if found.loaded is None:
            self._found, self._seen = found, None
            self._show()
            return
        try:
            run = start(
                self._app.opening.runs, found.loaded,
                engine=self.engine, seed=self.seed, seeds=series_of(found.loaded, self.seed, self.seeds),
                offline=self.offline, mirrors=self._mirrors,
            )  # fmt: skip
        except ReproError as error:
            self._app.explain(error)
            return
        self._app.show_run(run)

    def action_next_engine(self) -> None:
        """Use the next engine."""
        self.engine = _ENGINES[(_ENGINES.index(self.engine) + 1) % len(_ENGINES)]
        self._look()

    def action_toggle_offline(self) -> None:
        """Go offline, or online."""
        self.offline = not self.offline
        self._look()

    def action_ask_seed(self) -> None:
        """Ask for a seed."""
        self._ask("#seed-field", "" if self.seed is None else str(self.seed))

    def action_ask_seeds(self) -> None:
        """Ask for the seeds of a series."""
        wish = self.seeds
        self._ask("#seeds-field", "" if wish is None else str(wish) if isinstance(wish, int) else seeds_text(wish))

    def _ask(self, name: str, value: str) -> None:
        self._close_fields()
        field = self.query_one(name, Input)
        field.display = True
        field.value = value
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take a seed, or the seeds of a series; one run and a series are one or the other."""
        text = event.value.strip()
        if event.input.id == "seeds-field":
            from repro_tui.pipeline.launch import wished_seeds

            try:
                self.seeds = wished_seeds(text) if text else None
            except ValueError as error:
                self.notify(str(error), severity="error", markup=False)
                return
            self.seed = None if text else self.seed
        else:
            if text and not (text.isascii() and text.isdigit() and int(text) < _SEEDS):
                self.notify(f"{text!r} is no whole number from 0 to {_SEEDS - 1}", severity="error", markup=False)
                return
            self.seed = int(text) if text else None
            self.seeds = None if text else self.seeds
        self._close_fields()
        self._look()

    def _close_fields(self) -> bool:
        """Say whether a field was open."""
        shown = [field for field in self.query(Input) if field.display]
        for field in shown:
            field.display = False
        self.query_one("#machine").focus()
        return bool(shown)

    def action_back(self) -> None:
        """Leave the field, or the screen."""
        if not self._close_fields():
            leave(self)
