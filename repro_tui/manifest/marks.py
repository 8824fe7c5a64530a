"""Marked lines: what `repro-tui init` could not find out is a line with the comment `# FILL IN: …`.

A manifest with such a line is not finished, whatever else stands on it: the mark is a problem until it is taken away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from repro_tui.manifest.lines import Lines
from repro_tui.manifest.problems import Problem

MARK = "FILL IN"
"""How the comment begins."""

_MARKED = re.compile(rf"\s*{MARK}\s*:\s*(?P<what>.*?)\s*$")


def marked_problems(lines: Lines) -> Iterator[Problem]:
    """Yield a problem for every marked line of a TOML text."""
    for number, comment in lines.comments():
        found = _MARKED.match(comment)
        if found is not None:
            yield Problem(
                "", number, f"a line that is still marked: {found['what']}", "a manifest without such lines",
                f"give what it asks for, and take the comment `# {MARK}: …` away",
            )  # fmt: skip
