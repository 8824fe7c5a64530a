"""What a log's raw bytes look like on a terminal: made when they are shown, the file stays as it was written."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # titles, links and what else ends with a bell
    r"|[ -/]*[0-~])?"
)
_OVERWRITTEN = re.compile(r"^[^\n]*\r(?=[^\n\r]*[^\s])", re.MULTILINE)
_RETURN = re.compile(r"[ \t]*\r[ \t\r]*(?=\n|\Z)")
# Control characters, and those that turn the direction of what stands beside them.
_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
ERRORS = re.compile(
    r"Traceback \(most recent call last\)|\b\w*(?:Error|Exception)\b|\b(?:[Ee]rror|ERROR|[Ff]atal|FATAL)\b ?:"
    r"|\berror\[|out of memory|Segmentation fault|\bKilled\b"
)
"""What the first line that tells of a failure looks like."""


def displayed(lines: Sequence[bytes]) -> list[str]:
    """Return each line as a terminal would show it in the end.

    Progress bars are in their last state; escape sequences are gone; other control characters and bytes that are no
    text are a replacement character; tabs are spaces.
    """
    if not lines:
        return []
    text = b"\n".join(lines).decode("utf-8", "replace")
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    if "\x08" in text:
        text = text.replace("\x08", "")
    if "\r" in text:
        text = _RETURN.sub("", _OVERWRITTEN.sub("", text))
    text = _ODD.sub("\ufffd", text)
    if "\t" in text:
        text = text.expandtabs(8)
    return text.split("\n")
