"""The last thing before the screen, with --ascii: whatever a widget or Textual draws becomes ASCII, cell by cell."""
# ruff: noqa: RUF001 - these characters are meant

from __future__ import annotations

from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_MEANT = {
    **dict.fromkeys("─━═┄┅┈┉╌╍╴╶╸╺▔▁▂▃", "-"),
    **dict.fromkeys("│┃║┆┇┊┋╎╏╵╷╹╻▏▎▍▌▐▕", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯┏┓┗┛┣┫┳┻╋╔╗╚╝╠╣╦╩╬", "+"),
    **dict.fromkeys("▄▅▆▇█▀▉▊▋■▪", "#"),
    **dict.fromkeys("•·∙●○◉", "*"),
    **dict.fromkeys("▶►▸→❯⭘", ">"),
    **dict.fromkeys("◀◄◂←❮", "<"),
    **dict.fromkeys("▲△▴↑", "^"),
    **dict.fromkeys("▼▽▾↓", "v"),
    **dict.fromkeys("–—−", "-"),
    "…": ".", "±": "~", "×": "x", "µ": "u", "°": " ", "≤": "<", "≥": ">", "\xa0": " ", "✓": "+", "✗": "x",
}  # fmt: skip
"""What stands for a character of one cell; anything else is a question mark a cell."""


@lru_cache(4096)
def in_ascii(text: str) -> str:
    """Return text of as many cells, in ASCII."""
    if text.isascii():
        return text
    return "".join(c if c.isascii() else _MEANT.get(c, "?" * cell_len(c)) for c in text)


class Ascii(LineFilter):
    """Lets nothing but ASCII through."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002 - Textual's shape
        """Return the segments of a line in ASCII."""
        return [Segment(in_ascii(text), style, control) for text, style, control in segments]
