"""What the doctor found on this machine, with what to do where something is not well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen

from repro_tui.doctor.finding import Finding
from repro_tui.tui import actions
from repro_tui.tui.widgets.pins import Sheet


class Examined(Message):
    """The doctor has looked."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__()
        self.findings = findings


class DoctorScreen(ModalScreen[None]):
    """Looks in a thread: engines are tried, which takes seconds."""

    SCOPE = "doctor"
    BINDINGS: ClassVar[list[BindingType]] = list(actions.bindings("doctor"))
    CSS_PATH: ClassVar[list[str | PurePath]] = [
        Path(__file__).parents[1] / "styles" / name for name in ("dialogs.tcss", "doctor.tcss")
    ]

    def __init__(self, runs: Path) -> None:
        super().__init__()
        self._runs = runs

    def compose(self) -> ComposeResult:
        """Show the findings in a box."""
        with VerticalScroll(id="doctor", classes="dialog"):
            yield Sheet("Doctor", id="findings")

    def on_mount(self) -> None:
        """Begin to look."""
        self.query_one(Sheet).say("looking at this machine …")
        self.run_worker(self._examine, thread=True)

    def _examine(self) -> None:
        from repro_tui.doctor.examine import examine

        self.post_message(Examined(examine(self._runs)))

    def on_examined(self, message: Examined) -> None:
        """Show what was found."""
        self.query_one(Sheet).fill(("", "", ""), finding_rows(message.findings))

    def action_close(self) -> None:
        """Close."""
        self.dismiss()


def finding_rows(findings: Sequence[Finding]) -> Iterator[tuple[str, str, str]]:
    """Yield the findings, each remedy below what it is for; what is not well comes first."""
    for finding in sorted(findings, key=lambda finding: finding.ok):
        yield "ok" if finding.ok else "problem", finding.name, finding.message
        if not finding.ok and finding.remedy:
            yield "", "  to do", finding.remedy
