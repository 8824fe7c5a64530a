from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from repro_tui.cli.main import main

MANIFESTS = Path(__file__).parents[2] / "manifests"
RECORDED = Path(__file__).parents[1] / "tui" / "recorded"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Give a folder with two runs."""
    for name in ("reproduced", "failed"):
        shutil.copytree(RECORDED / name, tmp_path / "runs" / name)
    return tmp_path / "runs"


def test_two_runs_as_text_of_80_columns(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "reproduced", "failed", "--runs", str(runs)]) == 1
    out, err = capsys.readouterr()
    assert "They differ; first of all the hyperparameter rate: 0.02 → 60.0" in out
    assert "1. hyperparameter rate: 0.02 → 60.0" in out
    assert "Where the losses part" in out
    assert "of the right one: final metrics" in out
    assert max(map(len, out.splitlines())) <= 80
    assert not err


def test_as_json(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "reproduced", "failed", "--runs", str(runs), "--json"]) == 1
    body = json.loads(capsys.readouterr().out)
    assert set(body) == {
        "schema", "same", "differs", "left", "right", "causes", "parting", "outcomes", "unknown",
    }  # fmt: skip
    assert body["left"] == {
        "kind": "run", "name": "reproduced", "path": str(runs / "reproduced"), "status": "REPRODUCED",
    }  # fmt: skip
    assert [(each["kind"], each["name"], each["left"], each["right"]) for each in body["causes"]] == [
        ("hyperparameter", "rate", "0.02", "60.0")
    ]
    assert body["parting"]["bits"]["step"] == 1
    documented = (Path(__file__).parents[2] / "docs" / "explaining.md").read_text()
    for key in (*body, *body["causes"][0], *body["parting"], *body["outcomes"][0], *body["left"]):
        assert f"`{key}`" in documented


def test_the_same_run_is_the_same(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "reproduced", "reproduced", "--runs", str(runs)]) == 0
    assert "They are the same in everything that is known of both." in capsys.readouterr().out


def test_too_little_is_known(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "empty").mkdir()
    (runs / "empty" / "events.jsonl").touch()
    assert main(["diff", "reproduced", str(runs / "empty"), "--runs", str(runs)]) == 5
    assert "Too little is known" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["reproduced", "nothing"], "there is no run 'nothing'"),
        (["reproduced"], "is not there any more"),
        (["{file}"], "is no run: what is it to be compared with?"),
        (["{file}", "reproduced"], "has 1 problem"),
        (["reproduced", "reproduced", "--mirror", "/nonexistent"], "is not a folder"),
    ],
)
def test_what_cannot_be_compared(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    file = tmp_path / "faulty.toml"
    file.write_text("[")
    assert main(["diff", *(word.format(file=file) for word in words), "--runs", str(runs)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_a_run_alone_is_compared_with_its_manifest(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = MANIFESTS / "plain-pytorch.toml"
    options = json.loads((runs / "reproduced" / "options.json").read_text())
    (runs / "reproduced" / "options.json").write_text(json.dumps({**options, "manifest": os.fspath(manifest)}))
    assert main(["diff", "reproduced", "--runs", str(runs)]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"left   record    record of {manifest.name}\nright  run       reproduced")
    assert "artifact" in out
