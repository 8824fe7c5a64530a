"""The seeds of a series: a list to choose from; each leads to the run of that seed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from repro_tui.tui.seeds import SeedLine
from repro_tui.tui.widgets.pins import STYLES, plain


class Seeds(OptionList):
    """One line a seed; choosing one (Enter, a click) posts OptionSelected with its folder's name as id."""

    help_group = "Panes"

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id, compact=True)
        self.ascii = False
        self.lines: tuple[SeedLine, ...] = ()

    def show(self, lines: Sequence[SeedLine]) -> None:
        """Show how the seeds stand; only lines that changed are drawn."""
        before, self.lines = self.lines, tuple(lines)
        if [line.run for line in before] != [line.run for line in lines]:
            at = self.highlighted or 0
            self.clear_options()
            self.add_options([Option(self._line(line), id=line.run.path.name) for line in lines])
            self.highlighted = min(at, len(lines) - 1) if lines else None
            return
        for old, line in zip(before, lines, strict=True):
            if old != line:
                self.replace_option_prompt(line.run.path.name, self._line(line))

    def _line(self, line: SeedLine) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{line.name:>5}  ")
        text.append(line.word, style=STYLES.get(line.word, "dim"))
        text.append(plain(f"  {line.how}", ascii_only=self.ascii), style="dim")
        return text
