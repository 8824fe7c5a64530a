"""Lines that are marked as not filled in."""

from __future__ import annotations

from repro_tui.manifest.lines import Lines
from repro_tui.manifest.marks import marked_problems

TEXT = '''\
# a comment of its own
title = "# FILL IN: not a comment"  # FILL IN: the title
text = """
# FILL IN: nor this
"""
# FILL IN:   a line alone\t
list = [
  1,  # FILL IN: an element
  { a = 1 },  # other
]
[table]  # FILL IN: a header
key = 'a # FILL IN: b'
last = 1 # we FILL IN: nothing
# FILL IN: the end'''


def test_every_marked_line_is_named_and_no_string() -> None:
    found = [(problem.line, problem.found.partition(": ")[2]) for problem in marked_problems(Lines(TEXT))]
    assert found == [
        (2, "the title"),
        (6, "a line alone"),
        (8, "an element"),
        (11, "a header"),
        (14, "the end"),
    ]


def test_comments_have_their_lines() -> None:
    assert Lines(TEXT).comments()[0] == (1, " a comment of its own")
    assert (9, " other") in Lines(TEXT).comments()
