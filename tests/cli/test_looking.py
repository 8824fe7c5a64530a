"""Looking at runs on a bad day: a series, a name that is none, a narrow terminal."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repro_tui.cli import console
from repro_tui.cli.main import main
from tests.cli.project import Project

RECORDED = Path(__file__).parents[1] / "tui" / "recorded"


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the id of a series over seeds, the only run in the current folder."""
    shutil.copytree(RECORDED / "series", tmp_path / "runs" / "series")
    monkeypatch.chdir(tmp_path)
    return "series"


def test_a_seed_of_a_series_is_a_run_by_itself(series: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", series]) == 0
    shown = capsys.readouterr().out
    named = re.search(r"one by itself: repro-tui (show .*)", shown)
    assert named is not None
    for words in (named[1].split(), ["show", f"last/{named[1].partition(series + '/')[2]}"]):
        assert main(words) == 0
        assert capsys.readouterr().out.startswith(f"{series}-seed")


def test_a_stage_that_only_seeds_have_leads_to_their_logs(series: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", series, "--stage", "train"]) == 2
    said = capsys.readouterr().err
    assert "each of its seeds has one" in said
    named = re.search(r"`repro-tui (logs [^`]*)`", said)
    assert named is not None
    assert main(named[1].split()) == 0


@pytest.mark.parametrize("command", ["show", "logs", "attach", "cancel"])
def test_a_file_is_no_run(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "paper.repro.tar"
    file.touch()
    assert main([command, str(file), "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"{file} is a file, and no run" in said
    assert f"repro-tui --run {file}" in said


def test_a_result_that_differs_says_how_to_ask_why(project: Project) -> None:
    project.change("value = 0.6", "value = 0.7")
    done = project.command("run", "tiny.toml", "--engine", "fake", "--plain")
    assert done.code == 1
    named = re.search(r"why: +repro-tui (diff .*)", done.out)
    assert named is not None
    assert project.command(*named[1].split()).out.startswith("left   manifest")
    project.change("value = 0.7", "value = 0.6")
    assert "why:" not in project.command("run", "tiny.toml", "--engine", "fake", "--plain").out


def test_an_error_on_a_terminal_keeps_to_it_and_its_commands_whole() -> None:
    code = (
        "from repro_tui.cli import console; from repro_tui.errors import UsageError\n"
        "console.explain(UsageError('word ' * 30, where='/a' * 60, hint='do this: ' * 6 + '`repro-tui x --y z`, ' * 3))"
    )
    reading, writing = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "60"}
    subprocess.run([sys.executable, "-c", code], stderr=writing, check=True, env=environment)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as screen:
        lines = screen.read(4096).decode().splitlines()
    assert max(len(line) for line in lines if "/a" not in line) <= 60
    assert f"  where: {'/a' * 60}" in lines, "a path stays one, to be copied"
    assert sum(line.count("`repro-tui x --y z`") for line in lines) == 3
    assert lines[1].startswith("       word")


def test_what_reads_an_error_from_a_pipe_gets_each_part_in_a_line(project: Project) -> None:
    said = project.command("show", "x" * 100).err.splitlines()
    assert [line.partition(":")[0] for line in said] == ["error", "  where", "  hint"]


def test_a_line_without_a_place_to_break_is_left_as_it_is() -> None:
    assert console.folded("", 80, 2) == ""
    assert console.folded("  " + "x" * 100 + " y", 80, 4) == "  " + "x" * 100 + "\n    y"


def test_on_a_terminal_a_run_is_one_line(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "drift", tmp_path / ("a-run-with-a-long-name-" * 3))
    reading, writing = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    words = [sys.executable, "-m", "repro_tui", "list", "--runs", str(tmp_path)]
    subprocess.run(words, stdout=writing, check=True, env=environment)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as screen:
        lines = screen.read(4096).decode().splitlines()
    assert len(lines) == 2
    assert [len(line) for line in lines] == [80, 80]
    assert lines[1].endswith("…")
