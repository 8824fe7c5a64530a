"""`sign` and `verify` as they are typed."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from repro_tui.bundles import packing
from repro_tui.bundles.contents import Gathered, add_experiment
from repro_tui.bundles.index import Index, Pinned
from repro_tui.cli.main import main
from repro_tui.manifest.loading import load
from repro_tui.runs.directory import RunDirectory
from tests.cli.project import Project


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with one run, signed by key.pem."""
    project = Project(tmp_path_factory.mktemp("experiment"))
    project.write()
    assert project.run().code == 0
    done = project.command("sign", "last", "--new-key", "key.pem")
    assert done.code == 0, done.err
    assert done.out == f"runs/{project.only_run().name}/attestation.dsse.json\n"
    assert "it says: REPRODUCED, tiny" in done.err
    assert "no passphrase: whoever can read it can sign" in done.err
    return project.folder


@pytest.fixture(autouse=True)
def place(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(signed)
    monkeypatch.delenv("REPRO_TUI_KEY_PASSPHRASE", raising=False)


def only_run() -> Path:
    (folder,) = Path("runs").iterdir()
    return folder


@pytest.mark.parametrize("what", ["last", "folder", "report.json", "attestation.dsse.json"])
def test_whatever_is_named_is_found(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = {"last": "last", "folder": f"{only_run()}"}.get(what, f"{only_run() / what}")
    assert main(["verify", name, "--key", "key.pem.pub"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("VERIFIED: signed by key.pem.pub (")
    assert "What was signed: REPRODUCED (exit code 0)" in out
    assert "This does not show:\n  - that the run happened as it is told" in out


def bundle(path: Path) -> Path:
    """Write a bundle of the run: the experiment and what of the run is shared, without an image."""
    loaded, found = load(Path("tiny.toml").absolute()), Gathered()
    manifest = add_experiment(found, loaded)
    packing._add_run(found, RunDirectory(only_run()), loaded)
    index = Index(
        experiment=loaded.manifest.experiment.name,
        manifest=Pinned(path=manifest, sha256=loaded.sha256),
        image="parts",
        made_by="a test",
        files=found.members,
        left_out=[],
    )
    return packing._write(path, index, found, lambda done, total, text: None).path


def test_a_bundle_is_signed_as_a_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = bundle(tmp_path / "tiny.repro.tar")
    assert main(["sign", str(packed), "--key", "key.pem"]) == 0
    attestation = tmp_path / "tiny.repro.tar.dsse.json"
    assert capsys.readouterr().out == f"{attestation}\n"
    words = ["verify", str(packed), "--key", "key.pem.pub"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "bundle            holds" in out
    assert "events            holds" in out
    assert "the bundle is, byte for byte, the one that the statement names" in out
    run_only = ["--attestation", str(only_run() / "attestation.dsse.json")]
    assert main([*words, *run_only]) == 1  # a bundle has the report without paths of the author's machine
    assert capsys.readouterr().out.startswith("REFUSED: report")

    other = bundle(tmp_path / "other.repro.tar")
    other.write_bytes(other.read_bytes().replace(b"A tiny experiment", b"A tidy experiment"))
    assert main(["verify", str(other), "--attestation", str(attestation), "--key", "key.pem.pub"]) == 2
    assert "error:" in capsys.readouterr().err
    attestation.unlink()
    assert main(words) == 2
    assert "looked for tiny.repro.tar.dsse.json" in capsys.readouterr().err


def test_another_bundle_of_the_same_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = bundle(tmp_path / "tiny.repro.tar")
    assert main(["sign", str(packed), "--key", "key.pem"]) == 0
    manifest = Path("tiny.toml")
    before = manifest.read_bytes()
    try:
        manifest.write_bytes(before + b"# another\n")
        bundle(packed)
    finally:
        manifest.write_bytes(before)
    capsys.readouterr()
    assert main(["verify", str(packed), "--key", "key.pem.pub"]) == 1
    assert capsys.readouterr().out.startswith("REFUSED: bundle: SHA-256 of the bundle is ")


def test_without_a_key_it_is_not_verified(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "last"]) == 5
    out = capsys.readouterr().out
    assert out.startswith("NOT VERIFIED: the signature was not checked; it claims to be by ")
    assert "\nVERIFIED" not in out
    assert "  - who made this: no signature was checked" in out


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "last", "--key", "key.pem.pub", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["result"], body["exit_code"], body["refused"]) == ("VERIFIED", 0, None)
    assert body["predicate"]["verdict"] == "REPRODUCED"
    assert {finding["name"] for finding in body["findings"]} >= {"signature", "report", "manifest", "image"}


def test_only_what_is_at_hand_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = tmp_path / "alone.json"
    alone.write_bytes((only_run() / "attestation.dsse.json").read_bytes())
    assert main(["verify", str(alone), "--key", "key.pem.pub"]) == 5
    assert "neither report nor manifest was at hand" in capsys.readouterr().out
    assert main(["verify", str(alone), "--key", "key.pem.pub", "--manifest", "tiny.toml"]) == 0
    (tmp_path / "my-report.json").write_bytes((only_run() / "report.json").read_bytes())
    words = ["verify", str(tmp_path / "my-report.json"), "--key", "key.pem.pub"]
    assert main(words) == 2
    assert "there is no attestation" in capsys.readouterr().err
    assert main([*words, "--attestation", str(alone)]) == 0
    assert "no manifest was at hand" in capsys.readouterr().out
    assert main([*words, "--attestation", str(alone), "--manifest", "lock.txt"]) == 1
    assert capsys.readouterr().out.startswith("REFUSED: manifest: SHA-256 of lock.txt is ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sign", "--key", "key.pem"], "sign which run?"),
        (["sign", "last", "--new-key", "key.pem"], "never overwritten"),
        (["sign", "last", "--key", "none"], "cannot be read"),
        (["sign", "nothing", "--key", "key.pem"], "no run 'nothing'"),
        (["verify", "nothing"], "no run 'nothing'"),
        (["verify", "tiny.toml"], "not JSON"),
        (["verify", "last", "--key", "key.pem"], "this is a private key"),
        (["verify", "last", "--identity", "ada"], "a name alone proves nothing"),
        (["verify", "last", "--issuer", "https://example.org"], "--issuer needs --identity"),
        (["verify", "last", "--key", "key.pem.pub", "--manifest", "none"], "cannot be read"),
        (["verify", "last", "--attestation", "/dev/zero"], "not a plain file"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    caught = capsys.readouterr()
    assert said in caught.err
    assert not caught.out


def test_a_passphrase_comes_from_a_file_or_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret, key = tmp_path / "secret", tmp_path / "locked.pem"
    secret.write_text("correct horse\n")
    assert main(["sign", "--new-key", str(key), "--passphrase-file", str(secret)]) == 0
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600
    target = str(tmp_path / "made.json")
    words = ["sign", "last", "--key", str(key), "-o", target]
    with open(os.devnull, encoding="ascii") as nowhere:
        monkeypatch.setattr("sys.stdin", nowhere)
        assert main(words) == 2
    assert "no terminal to ask for it" in capsys.readouterr().err
    monkeypatch.setenv("REPRO_TUI_KEY_PASSPHRASE", "wrong")
    assert main(words) == 2
    monkeypatch.setenv("REPRO_TUI_KEY_PASSPHRASE", "correct horse")
    assert main(words) == 0
    assert main(["verify", "last", "--attestation", target, "--key", f"{key}.pub"]) == 0


def test_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = tmp_path / "asked.pem"
    answers = ["one", "another", "correct horse", "correct horse", "correct horse"]
    monkeypatch.setattr("getpass.getpass", lambda prompt: answers.pop(0))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert main(["sign", "--new-key", str(key)]) == 2
    assert not key.exists()
    assert main(["sign", "--new-key", str(key)]) == 0
    assert main(["sign", "last", "--key", str(key), "-o", str(tmp_path / "made.json")]) == 0
    answers += ["correct horse", "correct horse"]
    at_once = ["sign", "last", "--new-key", str(tmp_path / "at-once.pem"), "-o", str(tmp_path / "at-once.json")]
    assert main(at_once) == 0
    assert not answers


def test_what_an_attestation_says_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = json.loads((only_run() / "attestation.dsse.json").read_bytes())
    value["signatures"][0]["keyid"] = "\x1b[2J\x1b[1;1HVERIFIED"
    hostile = tmp_path / "hostile.json"
    hostile.write_text(json.dumps(value))
    assert main(["verify", str(hostile), "--key", "key.pem.pub"]) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_the_extra_is_named_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for words in (["sign", "last", "--key", "key.pem"], ["verify", "last"]):
        assert main(words) == 3
        assert "pip install 'repro-tui[sign]'" in capsys.readouterr().err


def test_off_a_terminal_it_is_80_columns_wide_but_for_its_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "last"]) == 5
    first, *others = capsys.readouterr().out.splitlines()
    assert first.endswith("Give --key, --allowed-signers or --issuer"), "whole, to be searched for"
    assert max(map(len, others)) <= 80
    assert any("sha256:" in line and line.endswith("…") for line in others)
