"""Settings are read leniently, kept as they were, and what the terminal is like is settled before Textual is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_tui.errors import UsageError
from repro_tui.tui import settings, terminal
from repro_tui.tui.settings import Settings


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "settings.toml"
    kept = Settings(theme="nord", ascii=True, keys={"run.zoom": "Z", "log.find": "ctrl+f"})
    settings.write(kept, file)
    assert settings.read(file) == kept


def test_a_file_that_is_not_there_is_no_problem(tmp_path: Path) -> None:
    assert settings.read(tmp_path / "none.toml") == Settings()


def test_keys_may_be_written_as_tables(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[keys]\nrun.zoom = "Z"\n"run.cancel" = "X"\n')
    assert settings.read(file).keys == {"run.zoom": "Z", "run.cancel": "X"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("theme = ", "settings.toml"),
        ("theme = 3", "theme: not a setting, or not of its type"),
        ("colour = true", "colour: not a setting"),
        ('[keys]\nrun.fly = "F"', "keys.run.fly: there is no such action"),
        ("[keys]\nrun.zoom = 3", "keys.run.zoom"),
    ],
)
def test_what_is_wrong_is_said_and_the_rest_holds(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f"{text}\n" if "theme = " in text else f"ascii = true\n{text}\n")
    found = settings.read(file)
    assert len(found.problems) == 1
    assert words in found.problems[0]
    assert found.theme == settings.DEFAULT_THEME
    assert found.ascii is ("theme" not in text)
    assert found.keys == {}


def test_bytes_that_are_no_text_are_a_problem_too(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(b"\xff\xfe\x00")
    assert len(settings.read(file).problems) == 1


@pytest.mark.parametrize("kind", ["", "dumb", "unknown"])
def test_a_terminal_without_a_cursor_is_refused(kind: str) -> None:
    with pytest.raises(UsageError) as raised:
        terminal.prepare({"TERM": kind})
    assert "--plain" in raised.value.hint


def test_it_is_sparing_over_ssh_unless_somebody_wants_otherwise() -> None:
    here, there = {"TERM": "xterm"}, {"TERM": "xterm", "SSH_CONNECTION": "a b", "TEXTUAL_FPS": "60"}
    terminal.prepare(here)
    terminal.prepare(there)
    assert here == {"TERM": "xterm"}
    assert (there["TEXTUAL_FPS"], there["TEXTUAL_ANIMATIONS"]) == ("60", "none")
