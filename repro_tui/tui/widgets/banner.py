"""A word in large letters: half blocks, or with ASCII only number signs; where there is no room, the word as it is."""

from __future__ import annotations

_FONT = {
    "A": ("###", "# #", "###", "# #", "# #"),
    "C": ("###", "#  ", "#  ", "#  ", "###"),
    "D": ("## ", "# #", "# #", "# #", "## "),
    "E": ("###", "#  ", "## ", "#  ", "###"),
    "F": ("###", "#  ", "## ", "#  ", "#  "),
    "G": ("####", "#   ", "# ##", "#  #", "####"),
    "I": ("#", "#", "#", "#", "#"),
    "L": ("#  ", "#  ", "#  ", "#  ", "###"),
    "M": ("#   #", "## ##", "# # #", "#   #", "#   #"),
    "N": ("#  #", "## #", "# ##", "#  #", "#  #"),
    "O": ("###", "# #", "# #", "# #", "###"),
    "P": ("###", "# #", "###", "#  ", "#  "),
    "R": ("###", "# #", "## ", "# #", "# #"),
    "S": ("###", "#  ", "###", "  #", "###"),
    "T": ("###", " # ", " # ", " # ", " # "),
    "U": ("# #", "# #", "# #", "# #", "###"),
    "V": ("# #", "# #", "# #", "# #", " # "),
    " ": ("  ", "  ", "  ", "  ", "  "),
}
_HALVES = {(" ", " "): " ", ("#", " "): "▀", (" ", "#"): "▄", ("#", "#"): "█"}


def large(word: str, *, width: int, ascii_only: bool) -> str:
    """Return the lines of a word, three of them or with ASCII only five; the word itself where it does not fit."""
    letters = [_FONT.get(letter) for letter in word]
    if None in letters:
        return word
    rows = [" ".join(letter[row] for letter in letters if letter is not None) for row in range(5)]
    if len(rows[0]) > width:
        return word
    if ascii_only:
        return "\n".join(row.rstrip() for row in rows)
    rows.append(" " * len(rows[0]))
    return "\n".join(
        "".join(_HALVES[upper, lower] for upper, lower in zip(rows[place], rows[place + 1], strict=True)).rstrip()
        for place in (0, 2, 4)
    )
