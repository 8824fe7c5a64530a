"""`pack`, `unpack`, `check BUNDLE`, `run BUNDLE`: what a person types and reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repro_tui.cli.main import main
from tests.bundles.experiment import Experiment, Forgery, digest, flipped


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Return the small experiment; no test changes it."""
    experiment = Experiment(tmp_path_factory.mktemp("pack") / "tiny")
    experiment.write()
    return experiment


@pytest.fixture
def bundle(made: Experiment, tmp_path: Path) -> Path:
    """Return a bundle that the command made."""
    path = tmp_path / "tiny.repro.tar"
    assert main([*words(made), "-o", str(path)]) == 0
    return path


def words(made: Experiment) -> list[str]:
    return [
        "pack", str(made.manifest), "--runs", str(made.runs), "--store", str(made.folder / "store"),
        "--mirror", str(made.parts.mirror), "--offline",
    ]  # fmt: skip


def test_it_says_what_it_packed(made: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.repro.tar"
    assert main([*words(made), "-o", str(path), "--exclude-licence", "CC-BY-NC-*"]) == 0
    told = capsys.readouterr()
    assert told.out == f"{digest(path)}  {path}\n"
    assert f"recorded run: {made.run.id}" in told.err
    assert "image: 2 packages and 3 wheels" in told.err
    assert "not in it: numbers (left out by its licence: CC-BY-NC-4.0)" in told.err
    assert f"repro-tui run {path}" in told.err


def test_its_name_where_none_is_given(
    made: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words(made), "--run", "none"]) == 0
    assert (tmp_path / "tiny.repro.tar").is_file()
    assert "report" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--exclude", "nothing"], "there is no artifact nothing"),
        (["--max-bytes", "many"], "--max-bytes"),
        (["--run", "another"], "there is no run"),
        (["-o", "."], "is a folder"),
    ],
)
def test_what_cannot_be_packed(
    made: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    more: list[str], told: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    try:
        code = main([*words(made), *more])
    except SystemExit as left:
        code = int(left.code or 0)
    assert code == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing half-written"


def test_listing_and_unpacking(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["unpack", str(bundle)]) == 0
    assert "experiment/up/tiny.toml" in capsys.readouterr().out
    assert main(["unpack", str(bundle), str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out/bundle.json").read_bytes())
    assert main(["unpack", str(bundle), str(tmp_path / "out")]) == 2
    assert "is there already" in capsys.readouterr().err


def test_checking(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPRO_TUI_STORE", str(tmp_path / "store"))
    capsys.readouterr()
    assert main(["check", str(bundle)]) == 0
    assert capsys.readouterr().out.startswith("tiny ")


@pytest.mark.parametrize("command", [["check"], ["run", "--engine", "embedded"], ["unpack"]])
def test_a_changed_bundle_is_refused_by_name(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    monkeypatch.setenv("REPRO_TUI_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("REPRO_TUI_RUNS", str(tmp_path / "runs"))
    path = Forgery.of(bundle).path("weights")
    changed = flipped(bundle, tmp_path / "changed.repro.tar", path)
    capsys.readouterr()
    assert main([*command, str(changed)]) == 2
    told = capsys.readouterr()
    assert f"changed.repro.tar is refused: {path}: the weights start has SHA-256" in told.err
    assert not told.out
    assert not (tmp_path / "runs").exists()


def test_a_run_that_would_lack_something(
    made: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPRO_TUI_STORE", str(tmp_path / "store"))
    path = tmp_path / "part.repro.tar"
    assert main([*words(made), "-o", str(path), "--exclude", "start"]) == 0
    capsys.readouterr()
    assert main(["--run", str(path), "--engine", "embedded", "--runs", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    assert "not in the bundle: start (left out by its name)" in told
    assert "--online" in told
    assert not (tmp_path / "runs").exists()


def test_a_bundle_that_asks_for_a_network(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPRO_TUI_STORE", str(tmp_path / "store"))
    forged = Forgery.of(bundle)
    path = forged.path("manifest")
    forged.change(path, forged.members[path] + b"\n[resources]\nnetwork = true\n")
    changed = forged.write(tmp_path / "online.repro.tar")
    assert main(["run", str(changed), "--engine", "embedded", "--runs", str(tmp_path / "runs")]) == 2
    assert "asks for a network" in capsys.readouterr().err


def test_a_manifest_that_names_a_place_on_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = Experiment(tmp_path / "tiny")
    there.write()
    absolute = there.manifest.parent / "numbers.tsv"
    there.manifest.write_text(there.manifest.read_text().replace('"numbers.tsv"', f'"{absolute}"'))
    assert main([*words(there), "-o", str(tmp_path / "x.repro.tar")]) == 0
    assert f"warning: artifacts.numbers: {absolute} is a place on this machine" in capsys.readouterr().err
