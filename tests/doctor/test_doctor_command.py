"""`repro-tui doctor` as a user sees it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from repro_tui.cli import doctor
from repro_tui.doctor import examine
from repro_tui.doctor.finding import Finding

FINDINGS = [
    Finding("embedded engine", ok=False, message="no namespaces", remedy="allow them", engine="embedded"),
    Finding("Docker engine", ok=True, message="Docker 1", engine="docker", details={"memory": "enforced"}),
]


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    doctor.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["doctor", *words])
    return int(arguments.run(arguments))


def test_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(examine, "examine", lambda runs: FINDINGS)
    assert run() == 0
    assert capsys.readouterr().out.splitlines() == [
        "no  embedded engine  no namespaces",
        "                     -> allow them",
        "ok  Docker engine    Docker 1",
        "                        memory: enforced",
    ]


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(examine, "examine", lambda runs: FINDINGS[:1])
    assert run("--json") == 3
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {
        "ok": False,
        "findings": [
            {"name": "embedded engine", "ok": False, "engine": "embedded", "message": "no namespaces",
             "remedy": "allow them", "details": {}}
        ],
    }  # fmt: skip
    assert printed.err == ""


def test_no_engine_is_exit_code_3_and_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(examine, "examine", lambda runs: FINDINGS[:1])
    assert run() == 3
    assert "no container engine works here" in capsys.readouterr().err


def test_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run("--json", "--runs", str(tmp_path))
    body = json.loads(capsys.readouterr().out)
    assert code == (0 if body["ok"] else 3)
    assert {finding["engine"] for finding in body["findings"] if finding["engine"]} == {"embedded", "docker", "podman"}
    assert str(tmp_path) in next(each["message"] for each in body["findings"] if each["name"] == "disk of the runs")
