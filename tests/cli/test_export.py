from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from repro_tui.cli.export import FORMS
from repro_tui.cli.main import main
from repro_tui.report import markdown
from tests.report import recorded

DIFFERS = str(recorded.FOLDER / "differs")
MANIFEST = str(recorded.MANIFESTS / "plain-pytorch.toml")


@pytest.mark.parametrize("form", sorted(set(FORMS) - {"ro-crate"}))
def test_each_form_goes_to_stdout_or_a_file_or_into_a_folder(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if form == "html" and importlib.util.find_spec("pygal") is None:
        pytest.skip("the charts need pygal: pip install 'repro-tui[html]'")
    assert main(["export", form, DIFFERS]) == 0
    printed = capsys.readouterr().out
    assert printed.strip()
    for given, file in ((tmp_path, tmp_path / FORMS[form]), (tmp_path / "mine", tmp_path / "mine")):
        assert main(["export", form, DIFFERS, "-o", str(given)]) == 0
        assert file.read_text(encoding="utf-8") == printed
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"wrote {file}\n")


def test_a_run_is_named_as_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(DIFFERS, tmp_path / "two-clouds-1")
    for name in ([], ["last"], ["two-c"], ["two-clouds-1"], [str(tmp_path / "two-clouds-1")]):
        assert main(["export", "markdown", *name, "--runs", str(tmp_path)]) == 0
        assert capsys.readouterr().out == markdown.render(recorded.report("differs"))
    assert main(["export", "markdown", "none", "--runs", str(tmp_path)]) == 2
    assert "there is no run 'none'" in capsys.readouterr().err


def test_crate_of_a_run_is_a_folder_that_says_who_ran_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("pygal") is None:
        pytest.skip("the page in a crate needs pygal: pip install 'repro-tui[html]'")
    folder = tmp_path / "new" / "crate"
    assert main(["export", "ro-crate", DIFFERS, "-o", str(folder), "--by", "A. Reader"]) == 0
    assert "left out: weights" in capsys.readouterr().err
    entities = json.loads((folder / "ro-crate-metadata.json").read_bytes())["@graph"]
    assert [each["name"] for each in entities if each["@type"] == "Person"] == ["A. Author", "A. Reader"]
    assert (folder / "report.html").is_file()
    assert main(["export", "ro-crate", DIFFERS, "-o", str(folder)]) == 2
    assert "there is something already" in capsys.readouterr().err


def test_crate_of_a_manifest_holds_what_it_pins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "ro-crate", MANIFEST]) == 0
    assert "wrote plain-pytorch-crate" in capsys.readouterr().err
    files = {str(file.relative_to(tmp_path / "plain-pytorch-crate")) for file in tmp_path.rglob("*") if file.is_file()}
    assert {"manifest.toml", "pinned/plain-pytorch.record.json", "CITATION.cff", "ro-crate-metadata.json"} <= files


def test_a_manifest_has_a_badge_and_a_citation_and_no_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "badge", MANIFEST]) == 0
    assert "not run yet" in capsys.readouterr().out
    assert main(["export", "citation", MANIFEST]) == 0
    assert capsys.readouterr().out.startswith("cff-version: 1.2.0\n")
    assert main(["export", "html", MANIFEST]) == 2
    assert "repro-tui export html last" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["html", str(recorded.FOLDER / "running")], 3, "has no report"),
        (["html", "gone.toml"], 2, "no such file"),
        (["html", DIFFERS, "--by", "me"], 2, "--by goes with ro-crate"),
        (["badge", DIFFERS, "-o", "/nowhere/at/all/badge.svg"], 3, "No such file"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    argv: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *argv]) == code
    assert said in capsys.readouterr().err


def test_unknown_form_is_a_mistake_of_usage() -> None:
    with pytest.raises(SystemExit) as left:
        main(["export", "pdf"])
    assert left.value.code == 2


def test_run_whose_manifest_cannot_be_read_has_a_page_but_no_crate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(DIFFERS, tmp_path / "run")
    (tmp_path / "run" / "manifest.toml").write_text("schema = ")
    assert main(["export", "junit", str(tmp_path / "run")]) == 0
    assert main(["export", "croissant", str(tmp_path / "run")]) == 3
    assert main(["export", "ro-crate", str(tmp_path / "run"), "-o", str(tmp_path / "crate")]) == 3
    assert "its manifest cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "crate").exists()
