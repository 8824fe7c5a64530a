"""As a person does it, in a real terminal: look at runs, leave, come back, cancel, take the terminal away."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from repro_tui.runs.directory import RunDirectory
from tests.system.lab import COMMAND
from tests.tui.conftest import OpenTerminal

Recorded = Callable[[str], RunDirectory]


def ui(*words: str | Path) -> list[str]:
    """Return the command line of the UI."""
    return [*COMMAND, *map(str, words)]


@pytest.mark.parametrize(("columns", "rows"), [(120, 40), (80, 24)])
def test_a_finished_run_is_shown_and_left(
    open_terminal: OpenTerminal, recorded: Recorded, columns: int, rows: int
) -> None:
    run = recorded("failed")
    terminal = open_terminal(columns=columns, rows=rows)
    terminal.command(ui(run.path))
    terminal.wait_for("FAILED")
    screen = terminal.wait_for("math domain error")
    assert all(len(line) <= columns for line in screen.splitlines())
    terminal.keys("q")
    after = terminal.wait_for_prompt()
    assert "FAILED" not in after, "the alternate screen is gone, and nothing of it is left behind"
    terminal.command(["stty", "-a"])
    assert re.search(r"(?<!-)echo\b", terminal.wait_for("speed")), "the terminal is as it was"


def test_it_sleeps_and_wakes(open_terminal: OpenTerminal, recorded: Recorded) -> None:
    run = recorded("failed")
    terminal = open_terminal()
    terminal.command(ui(run.path))
    terminal.wait_for("math domain error")
    terminal.keys("C-z")
    terminal.wait_for(r"Stopped")
    terminal.command(["echo", "as", "ever"])
    terminal.wait_for(r"(?m)^as ever")
    terminal.command(["fg"])
    for part in ("1 Stages", "math domain error", "4 Resources", "? Help"):  # all of it, also what has not changed
        terminal.wait_for(re.escape(part))
    terminal.keys("q")
    terminal.wait_for_prompt()


def test_it_follows_the_size(open_terminal: OpenTerminal, recorded: Recorded) -> None:
    run = recorded("differs")
    terminal = open_terminal()
    terminal.command(ui(run.path))
    terminal.wait_for("METRICS DIFFER")
    for columns, rows in ((80, 24), (30, 8), (200, 60), (120, 40)):
        terminal.resize(columns, rows)
        terminal.wait_for("METRICS DIFF")
        assert all(len(line) <= columns for line in terminal.screen().splitlines())
    terminal.keys("q")
    terminal.wait_for_prompt()


def test_no_colour_where_none_is_wanted(open_terminal: OpenTerminal, recorded: Recorded) -> None:
    run = recorded("differs")
    terminal = open_terminal({"NO_COLOR": "1"})
    terminal.command(ui(run.path))
    terminal.wait_for("METRICS DIFFER")
    styled = terminal.screen(styles=True)
    assert "METRICS DIFFER" in re.sub(r"\x1b\[[0-9;]*m", "", styled)
    coloured = [codes for codes in re.findall(r"\x1b\[([0-9;]*)m", styled) if _is_colour(codes)]
    assert not coloured, f"colours are used: {coloured[:5]}"


def _is_colour(codes: str) -> bool:
    """Say whether a sequence sets a colour that is none of the greys."""
    found = re.findall(r"[34]8;2;(\d+);(\d+);(\d+)", codes)
    if any(len(set(map(int, rgb))) > 1 for rgb in found):
        return True
    rest = re.sub(r"[34]8;[25];[\d;]*", "", codes)
    return any(re.fullmatch(r"[349][1-6]|10[1-6]", code) for code in rest.split(";"))


def test_ascii_draws_nothing_else(open_terminal: OpenTerminal, recorded: Recorded) -> None:
    run = recorded("reproduced")
    terminal = open_terminal()
    terminal.command(ui("tui", "--ascii", run.path))
    screen = terminal.wait_for("REPRODUCED")
    assert sorted({letter for letter in screen if ord(letter) > 126}) == []


def test_a_dumb_terminal_is_refused_with_a_word(open_terminal: OpenTerminal, recorded: Recorded) -> None:
    run = recorded("reproduced")
    terminal = open_terminal()
    terminal.command(["env", "TERM=dumb", *ui(run.path)])
    screen = terminal.wait_for("--plain")
    assert "TERM=dumb" in screen
    terminal.wait_for_prompt()


def test_without_a_terminal_it_says_what_to_use(open_terminal: OpenTerminal, recorded: Recorded) -> None:
    run = recorded("reproduced")
    terminal = open_terminal()
    terminal.type(" ".join(ui("tui", run.path)) + " | cat")
    terminal.keys("Enter")
    terminal.wait_for("needs a terminal")
