"""What opens the terminal UI, and what it is opened on."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from repro_tui.cli import tui
from repro_tui.cli.main import expand
from repro_tui.errors import UsageError
from tests.tui.record import RECORDED


@pytest.mark.parametrize("argv", [["nonsense"], ["--help"], ["list"], ["--run", "x.toml"]])
def test_other_command_lines_stay_what_they_are(argv: list[str]) -> None:
    assert expand(argv)[0] != "tui"


def test_a_path_means_the_ui(tmp_path: Path) -> None:
    assert expand([str(tmp_path)]) == ["tui", str(tmp_path)]
    assert expand(["--ascii", str(tmp_path)]) == ["tui", "--ascii", str(tmp_path)]
    assert expand([str(tmp_path), "--runs", "there"]) == ["tui", str(tmp_path), "--runs", "there"]


@pytest.mark.parametrize(("terminal", "words"), [(True, ["tui"]), (False, [])])
def test_nothing_means_the_ui_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, words: list[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    assert expand([]) == words


def test_it_opens_a_manifest_a_folder_or_a_run(tmp_path: Path) -> None:
    def opening(path: str | None) -> tuple[object, object, object]:
        found = tui.opening(path, RECORDED)
        return found.manifest, found.folder, found.run and found.run.path

    manifest = RECORDED / "reproduced" / "manifest.toml"
    assert opening(None) == (None, None, None)
    assert opening(str(manifest)) == (manifest, None, None)
    assert opening(str(tmp_path)) == (None, tmp_path, None)
    assert opening(str(RECORDED / "reproduced")) == (None, None, RECORDED / "reproduced")
    assert opening("reprod") == (None, None, RECORDED / "reproduced")
    with pytest.raises(UsageError):
        opening("nothing-like-that")


def test_a_fault_of_ours_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from repro_tui.tui.app import ReproApp

    def fault(_: ReproApp) -> None:
        raise ZeroDivisionError("a fault")

    run = ReproApp.run
    monkeypatch.setattr("repro_tui.tui.terminal.interactive", lambda: True)
    monkeypatch.setattr(ReproApp, "get_default_screen", fault)
    monkeypatch.setattr(ReproApp, "run", lambda app: run(app, headless=True))
    with pytest.raises(ZeroDivisionError, match="a fault"):
        tui.run(argparse.Namespace(path=None, runs=tmp_path, ascii=True))


def test_what_reads_manifests_is_not_waited_for() -> None:
    """It takes as long to load as all else until the first picture; a thread does it afterwards."""
    code = (
        "import sys\n"
        "import repro_tui.cli.main, repro_tui.cli.tui, repro_tui.tui.app\n"
        "from repro_tui.tui.screens import home, plan, run\n"
        "late = {'argparse', 'pydantic', 'requests', 'tomllib', 'repro_tui.cli.run'} & set(sys.modules)\n"
        "assert not late, late\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
