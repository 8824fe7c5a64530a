"""The command line itself: help in time, no traceback for bad input, stdout for data only."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repro_tui.cli.main import COMMANDS, expand
from tests.cli.project import Project


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--run", "m.toml"], ["run", "m.toml"]),
        (["--run=m.toml", "--json"], ["run", "m.toml", "--json"]),
        (["--engine", "docker", "--run", "m.toml"], ["run", "--engine", "docker", "m.toml"]),
        (["logs", "--run", "x"], ["logs", "--run", "x"]),
        (["--", "--run", "x"], ["--", "--run", "x"]),
        (["--version"], ["--version"]),
    ],
)
def test_run_is_an_option_and_a_command(given: list[str], expected: list[str]) -> None:
    assert expand(given) == expected


def test_without_a_word_the_help_is_printed(project: Project) -> None:
    alone = project.command()
    assert alone.code == 0
    assert alone.out == project.command("--help").out
    for command in COMMANDS:
        assert command in alone.out


def test_help_comes_in_time() -> None:
    """At most 8 times `python -c pass`; medians of alternating runs, so that a busy machine does not decide."""

    def seconds(*words: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    pairs = [(seconds("-m", "repro_tui", "--help"), seconds("-c", "pass")) for _ in range(9)]
    helped, bare = (statistics.median(each) for each in zip(*pairs, strict=True))
    assert helped <= 8 * bare, f"{1000 * helped:.0f} ms, python -c pass {1000 * bare:.0f} ms"


BAD = {
    "no such command": (["frobnicate"], 2),
    "no such option": (["run", "tiny.toml", "--fast"], 2),
    "no manifest named": (["run"], 2),
    "no such manifest": (["run", "none.toml"], 2),
    "a folder": (["run", "."], 2),
    "no TOML": (["run", "bad.toml"], 2),
    "no text": (["run", "binary.toml"], 2),
    "an empty file": (["run", "empty.toml"], 2),
    "no such engine": (["run", "tiny.toml", "--engine", "magic"], 2),
    "a seed that is none": (["run", "tiny.toml", "--seed", "-1"], 2),
    "a seed in words": (["run", "tiny.toml", "--seed", "many"], 2),
    "runs under a file": (["run", "tiny.toml", "--engine", "fake", "--runs", "tiny.toml/runs"], 3),
    "a store under a file": (["run", "tiny.toml", "--engine", "fake", "--store", "tiny.toml/store"], 3),
    "a mirror that is none": (["run", "tiny.toml", "--engine", "fake", "--mirror", "no-such-folder"], 2),
    "attach to nothing": (["attach", "nothing"], 2),
    "attach to the last of none": (["attach", "last"], 2),
    "cancel nothing": (["cancel", ""], 2),
    "show nothing": (["show", "../.."], 2),
    "show with two forms": (["show", "last", "--json", "--markdown"], 2),
    "logs of nothing": (["logs", "\x00"], 2),
    "list of no folder": (["list", "--runs", "no/such/folder"], 0),
    "check nothing": (["check", "none.toml"], 2),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_never_ends_in_a_traceback(project: Project, case: str) -> None:
    words, code = BAD[case]
    (project.folder / "bad.toml").write_text("schema = [1\n")
    (project.folder / "binary.toml").write_bytes(bytes(range(256)))
    (project.folder / "empty.toml").write_text("")
    if any("\x00" in word for word in words):
        words = [word.replace("\x00", "\udc80") for word in words]
    done = project.command(*words)
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert done.code == 0 or done.err.strip(), "it says something"


def test_a_manifest_with_problems_names_them_all_and_leaves_no_run(project: Project) -> None:
    project.change("seed = 7", "sed = 7")
    project.change('licence = "CC0-1.0"', "licence = 3")
    done = project.run()
    assert done.code == 2
    assert done.out == ""
    assert "determinism" in done.err
    assert "experiment.licence" in done.err
    assert not project.runs.exists()


def test_debug_shows_the_traceback(project: Project) -> None:
    project.variables["REPRO_TUI_DEBUG"] = "1"
    assert "Traceback" in project.command("run", "none.toml").err


def test_what_should_not_happen_is_one_line_and_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from repro_tui.cli import console

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said: list[str] = []
    monkeypatch.setattr(console, "say", said.append)

    def broken() -> int:
        return int(os.environ["NO SUCH VARIABLE"])

    assert console.guarded(broken) == 3
    assert len(said) == 2
    (saved,) = tmp_path.iterdir()
    assert str(saved) in said[1]
    assert "NO SUCH VARIABLE" in saved.read_text()


@pytest.mark.parametrize(("terminal", "lines"), [("xterm", 1), ("dumb", 0)])
def test_how_far_it_is_stands_on_a_terminal_until_something_else_is_said(terminal: str, lines: int) -> None:
    code = (
        "from repro_tui.cli import console, image_parts; progress = image_parts.Progress()\n"
        "for done in range(0, 5): progress(done * 10**6, 4 * 10**6, 'pulling it')\n"
        "console.say('over')"
    )
    reading, writing = os.openpty()
    subprocess.run(
        [sys.executable, "-c", code], stderr=writing, check=True, env={**os.environ, "TERM": terminal, "COLUMNS": "80"}
    )
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as screen:
        said = screen.read(4096).decode()
    assert said.startswith("pulling it (4 MB)")
    assert said.count("  3 of 4 MB, 75 %\x1b[K") == lines
    assert said.endswith("\r\x1b[Kover\r\n" if lines else "pulling it (4 MB)\r\nover\r\n")


def test_the_doctor_keeps_to_the_terminal() -> None:
    from repro_tui.cli.doctor import _lines
    from repro_tui.doctor.finding import Finding

    finding = Finding(
        "Docker engine", ok=False, message="words " * 30, remedy="more " * 30, details={"root": "read-only " * 30}
    )
    assert max(map(len, _lines([finding], 80))) <= 80
    assert len(list(_lines([finding], sys.maxsize))) == 3
