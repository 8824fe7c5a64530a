"""`repro-tui init` as its user types it."""

from __future__ import annotations

import io
import os
import tomllib
from pathlib import Path

import pytest

from repro_tui.cli.main import main
from tests.authoring.project_lab import PROJECT, make


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    folder = make(tmp_path / "project", PROJECT)
    monkeypatch.chdir(folder)
    return folder


def test_it_writes_a_manifest_and_says_what_is_left_to_do(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--", "python", "train.py", "--lr", "0.5"]) == 0
    out, err = capsys.readouterr()
    assert out == "repro.toml\n"
    assert tomllib.loads((project / "repro.toml").read_text())["hyperparameters"]["lr"] == 0.5
    assert "train.py reports no metric yet" in err
    assert 'report("metric", name="accuracy", value=float(acc), split="test")' in err
    assert err.rstrip().endswith("`repro-tui lock repro.toml`")


def test_what_the_code_imports_is_named_where_no_file_does(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "requirements.txt").unlink()
    assert main(["init"]) == 0
    assert (project / "requirements.txt").read_text().splitlines()[1:] == ["pandas", "scikit-learn"]
    assert "requirements.txt was made from what the code imports" in capsys.readouterr().err
    (project / "train.py").write_text("import json\n")
    (project / "requirements.txt").unlink()
    assert main(["init", "--force"]) == 0
    assert "nothing but Python's own modules" in (project / "requirements.txt").read_text()
    assert "was made from" not in capsys.readouterr().err


def test_what_is_there_is_not_replaced(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "repro.toml").write_text("mine\n")
    assert main(["init"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (project / "repro.toml").read_text() == "mine\n"
    assert main(["init", "--force"]) == 0
    assert (project / "repro.toml").read_text() != "mine\n"


def test_another_folder_another_file_another_name(project: Path, tmp_path: Path) -> None:
    target = tmp_path / "manifests" / "a.toml"
    assert main(["init", str(project), "-o", str(target), "--name", "mine"]) == 0
    manifest = tomllib.loads(target.read_text())
    assert manifest["experiment"]["name"] == "mine"
    assert manifest["environment"]["requirements"] == "../project/requirements.txt"
    assert [artifact["sources"][0]["path"] for artifact in manifest["artifacts"]] == [
        "../project",
        "../project/data/train.csv",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["init", "nowhere"],
        ["init", "--name", "Not A Name"],
        ["init", "-o", "manifest.json"],
        ["init", "--from-template", "nothing"],
        ["init", "--ci", "nowhere.toml"],
        ["init", "--ci", "--", "python", "train.py"],
        ["init", "--set", "a=b"],
        ["init", "--", "python", "nowhere.py"],
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(
    words: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(project.iterdir())
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "hint:" in err
    assert sorted(project.iterdir()) == before


def test_in_a_terminal_it_asks(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "finetune.py").write_text("import torch\n")
    answers = ["2", "Best Net", "", "Ann A, Bo B", "A title", "CC-BY-4.0", ""]
    monkeypatch.setattr("sys.stdin", Terminal("\n".join(answers)))
    monkeypatch.setattr("sys.stderr", Terminal())
    assert main(["init"]) == 0
    manifest = tomllib.loads((project / "repro.toml").read_text())
    assert manifest["experiment"] == {
        "name": "best-net", "title": "A title", "authors": ["Ann A", "Bo B"], "licence": "CC-BY-4.0",
    }  # fmt: skip
    assert manifest["task"]["command"] == ["python3", "finetune.py"]
    assert manifest["image"]["recipe"] == "torch-cpu"


def test_a_terminal_that_goes_away_takes_the_defaults(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(""))
    monkeypatch.setattr("sys.stderr", Terminal())
    assert main(["init"]) == 0
    assert tomllib.loads((project / "repro.toml").read_text())["experiment"]["name"] == "project"


def test_yes_asks_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Terminal("never read\n")
    monkeypatch.setattr("sys.stdin", asked)
    monkeypatch.setattr("sys.stderr", Terminal())
    assert main(["init", "--yes"]) == 0
    assert asked.tell() == 0


def test_a_template_takes_answers_from_both(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["init", "--list-templates"]) == 0
    monkeypatch.setattr("sys.stdin", Terminal("\n" * 30))
    monkeypatch.setattr("sys.stderr", Terminal())
    words = [
        "--from-template",
        "text_classification",
        "--set",
        "hyperparameters.epochs=9",
        "--set",
        "experiment.title=T",
    ]
    assert main(["init", *words]) == 0
    text = (project / "repro.toml").read_text()
    manifest = tomllib.loads(text)
    assert manifest["hyperparameters"]["epochs"] == 9
    assert manifest["experiment"]["title"] == "T"
    assert manifest["experiment"]["licence"] == "MIT"
    assert text.count("# FILL IN: ") == 4  # the author, the checkpoint, the two files


def test_check_names_every_marked_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    capsys.readouterr()
    assert main(["check", "repro.toml"]) == 2
    err = capsys.readouterr().err
    lines = (project / "repro.toml").read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        assert (f"repro.toml:{number}\n" in err) == ("# FILL IN: " in line)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project.chmod(0o555)
    try:
        assert main(["init"]) == 3
    finally:
        project.chmod(0o755)
    assert "refused" in capsys.readouterr().err


def test_files_for_ci(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    assert main(["init", "--ci"]) == 0
    assert (project / ".github/workflows/repro-tui.yml").is_file()
    assert (project / ".github/repro-tui.svg").is_file()
    assert main(["init", "--ci"]) == 2
