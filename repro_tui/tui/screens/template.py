"""A manifest from a template: choose one, answer its questions, and it is written, over nothing that is there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from repro_tui.errors import ReproError, UsageError, from_os_error
from repro_tui.tui import actions
from repro_tui.tui.widgets.pins import plain

if TYPE_CHECKING:
    from repro_tui.authoring.templates import Template
    from repro_tui.tui.app import ReproApp

FILE = "repro.toml"
_NEEDED = "needed: left empty, its line is marked and the manifest cannot run yet"


class Looked(Message):
    """What the project's own files say of it, by template and by the question that it answers."""

    def __init__(self, templates: Iterable[tuple[Template, dict[str, str]]]) -> None:
        super().__init__()
        self.templates = list(templates)


class TemplateScreen(ModalScreen[Path | None]):
    """Returns the manifest that was written, None where somebody thought better of it."""

    SCOPE = "template"
    BINDINGS: ClassVar[list[BindingType]] = list(actions.bindings("template"))
    CSS_PATH: ClassVar[list[str | PurePath]] = [
        Path(__file__).parents[1] / "styles" / name for name in ("dialogs.tcss", "template.tcss")
    ]

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._known: list[tuple[Template, dict[str, str]]] = []
        self._template: Template | None = None

    def compose(self) -> ComposeResult:
        """Show the templates; the questions of one once it is chosen."""
        with Vertical(id="template", classes="dialog pane") as box:
            box.border_title = "New from a template"
            yield OptionList(id="templates", compact=True)
            yield VerticalScroll(id="questions", can_focus=False)
            yield Static(id="said", markup=False)
            with Horizontal(id="answers"):
                yield Button("Write it", id="write", compact=True)
                yield Button("Close", id="close", compact=True)

    def on_mount(self) -> None:
        """Look at the project, which may have many files, in a thread."""
        self._arrange()
        self._say("looking at the folder …")
        self.run_worker(self._look, thread=True)

    def _look(self) -> None:
        from repro_tui.authoring.inspection.folder import look
        from repro_tui.authoring.inspection.people import find_about
        from repro_tui.authoring.templates import templates

        about = find_about(look(self._folder))
        self.post_message(Looked((each, each.known(about)) for each in templates()))

    def on_looked(self, message: Looked) -> None:
        """Offer the templates."""
        self._known = message.templates
        options = self.query_one("#templates", OptionList)
        for template, _ in self._known:
            words = Text.assemble((template.name, "bold"), "\n", (self._plain(template.description), "dim"))
            options.add_option(Option(words, id=template.name))
        options.highlighted = 0
        options.focus()
        self._say("Enter takes one")

    def _plain(self, text: str) -> str:
        return plain(text, ascii_only=cast("ReproApp", self.app).ascii)

    def _say(self, text: str) -> None:
        self.query_one("#said", Static).update(Text(self._plain(text)))

    def _arrange(self) -> None:
        asking = self._template is not None
        self.query_one("#templates").display = not asking
        for name in ("questions", "write"):
            self.query_one(f"#{name}").display = asking

    # --- answers ------------------------------------------------------------------------------------------------------

    @on(OptionList.OptionSelected)
    async def _chosen(self, event: OptionList.OptionSelected) -> None:
        """Ask the questions of a template."""
        template, known = self._known[event.option_index]
        self._template = template
        self._arrange()
        asked: list[Widget] = [
            Static("file to write; the paths below are relative to it", markup=False),
            Input(str(self._folder / FILE), id="file", compact=True),
        ]
        for number, question in enumerate(template.questions):
            value = known.get(question.key, question.default)
            asked.append(Static(self._plain(question.text), markup=False))
            asked.append(Input(value, id=f"question{number}", compact=True, placeholder="" if value else _NEEDED))
        await self.query_one("#questions").mount(*asked)
        self.query_one("#file").focus()
        self._say("Enter goes to the next; after the last one it is written")

    @on(Input.Submitted)
    def _answered(self, event: Input.Submitted) -> None:
        """Go to the next question; after the last one, write."""
        fields = list(self.query(Input))
        place = fields.index(event.input)
        if place + 1 < len(fields):
            fields[place + 1].focus()
        else:
            self._write()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "write":
            self._write()
        else:
            self.dismiss(None)

    def _write(self) -> None:
        """Write the manifest, or say which answer does not do."""
        from repro_tui.authoring.files import refuse_overwriting, write

        template = self._template
        if template is None:
            return
        fields = {
            question.key: self.query_one(f"#question{number}", Input)
            for number, question in enumerate(template.questions)
        }
        file = self.query_one("#file", Input)
        path = Path(file.value.strip()).expanduser()
        try:
            if path.suffix != ".toml" or path.name == ".toml":
                raise UsageError("a manifest's name ends in .toml")
            refuse_overwriting([path], force=False)
            text = template.filled({key: said for key, field in fields.items() if (said := field.value.strip())})
            write(path, text)
        except OSError as error:
            self._refuse(from_os_error(error), file)
        except ValueError:  # of what no file system takes
            self._refuse(UsageError("that is no path"), file)
        except ReproError as error:
            self._refuse(error, fields.get(error.where, file))
        else:
            self.dismiss(path.absolute())

    def _refuse(self, error: ReproError, field: Input) -> None:
        self._say(f"{error.message}: {error.where}" if error.where else error.message)
        field.focus()

    def action_close(self) -> None:
        """Write nothing."""
        self.dismiss(None)
