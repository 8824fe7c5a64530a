"""A question with a few answers: each a button with a letter, one of them the default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from repro_tui.tui import actions


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: what `ConfirmScreen` returns, and what its button says."""

    value: str
    label: str


class ConfirmScreen(ModalScreen[str | None]):
    """Returns the value of the answer that was chosen, None where somebody thought better of it.

    The first answer has the focus: Enter takes it. The first letter of an answer takes it too.
    """

    SCOPE = "confirm"
    CSS_PATH = Path(__file__).parents[1] / "styles" / "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(actions.bindings("confirm"))

    def __init__(self, title: str, question: str, answers: Sequence[Answer]) -> None:
        super().__init__()
        self._title = title
        self._question = question
        self._answers = tuple(answers)

    def compose(self) -> ComposeResult:
        """Show the question above its answers."""
        with Vertical(id="confirm", classes="dialog pane") as box:
            box.border_title = self._title
            yield Static(Text(self._question))
            with Horizontal(id="answers"):
                for answer in self._answers:
                    yield Button(Text(answer.label), id=answer.value, compact=True)

    def on_mount(self) -> None:
        """Lead with the first answer."""
        self.query(Button).first().focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Take an answer."""
        self.dismiss(event.button.id)

    def on_key(self, event: events.Key) -> None:
        """Take the answer that begins with a letter."""
        chosen = [answer for answer in self._answers if answer.label[:1].lower() == (event.character or "")]
        if len(chosen) == 1:
            event.stop()
            self.dismiss(chosen[0].value)

    def action_close(self) -> None:
        """Take none."""
        self.dismiss(None)

    def action_next_answer(self) -> None:
        """Go to the next answer."""
        self.focus_next(Button)

    def action_previous_answer(self) -> None:
        """Go to the answer before."""
        self.focus_previous(Button)
