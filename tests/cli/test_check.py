"""`repro-tui check` and `repro-tui schema`, as a user runs them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from repro_tui.manifest.code import builtin_code_digest
from repro_tui.manifest.schema import manifest_schema

LOCK = b"numpy==2.2.0\n"
DIGEST = f"sha256:{'0' * 64}"
HASH = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
"""Of an environment of which nothing is known."""
GOOD = f"""\
schema = 1
experiment = {{ name = "tiny", title = "Tiny", authors = ["A"], licence = "CC0-1.0" }}
image = {{ recipe = "torch-cpu", manifest_digest = "{DIGEST}", config_digest = "{DIGEST}" }}
environment = {{ lock = "lock.txt", lock_sha256 = "{hashlib.sha256(LOCK).hexdigest()}", hash = "{HASH}" }}
determinism = {{ seed = 1 }}
splits = {{ train = {{ artifact = "data" }}, test = {{ artifact = "data" }} }}

[task]
name = "text_classification"
model = "encoder"
code_sha256 = "{builtin_code_digest("text_classification")}"

[[expected.metrics]]
name = "accuracy"
value = 0.9
absolute = 0.01

[[artifacts]]
name = "data"
kind = "data"
path = "data.tsv"
sha256 = "{"a" * 64}"
bytes = 1
sources = [{{ type = "local", path = "data.tsv" }}]

[[artifacts]]
name = "encoder"
kind = "weights"
path = "encoder/model.safetensors"
sha256 = "{"b" * 64}"
bytes = 1
sources = [{{ type = "local", path = "model.safetensors" }}]
"""


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "repro_tui.cli.main", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lock.txt").write_bytes(LOCK)
    (tmp_path / "good.toml").write_text(GOOD)
    (tmp_path / "bad.toml").write_text(GOOD.replace("seed = 1", "seed = -1").replace("bytes = 1", 'bytes = "1"'))
    return tmp_path


def test_a_good_manifest_is_one_line_with_its_pins(folder: Path) -> None:
    done = run("check", "good.toml", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.split() == [
        "tiny",
        f"task.code_sha256={builtin_code_digest('text_classification')}",
        f"environment.lock_sha256={hashlib.sha256(LOCK).hexdigest()}",
        f"sha256={hashlib.sha256(GOOD.encode()).hexdigest()}",
    ]


def test_problems_go_to_people_and_good_manifests_are_still_told(folder: Path) -> None:
    done = run("check", "bad.toml", "missing.toml", "good.toml", cwd=folder)
    assert done.returncode == 2
    assert done.stdout.startswith("tiny ")
    assert len(done.stdout.splitlines()) == 1
    for words in ("bad.toml:5: determinism.seed", "artifacts[0].bytes", "bad.toml: 3 problems", "no such file"):
        assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_json_is_all_there_is_on_stdout(folder: Path) -> None:
    done = run("check", "--json", "good.toml", "bad.toml", cwd=folder)
    assert (done.returncode, done.stderr) == (2, "")
    good, bad = json.loads(done.stdout)["manifests"]
    assert (good["ok"], good["name"], good["problems"], good["warnings"]) == (True, "tiny", [], [])
    assert good["pins"]["task.code_sha256"] == builtin_code_digest("text_classification")
    assert (bad["ok"], bad["path"]) == (False, "bad.toml")
    assert bad["problems"][0] == {
        "toml_path": "determinism.seed",
        "line": 5,
        "found": "-1",
        "allowed": "a number from 0 on",
        "hint": "",
    }


def test_other_code_and_nothing_expected_are_warnings(folder: Path) -> None:
    (folder / "drifted.toml").write_text(GOOD.replace(builtin_code_digest("text_classification"), "0" * 64))
    (folder / "vague.toml").write_text(GOOD.replace(GOOD[GOOD.index("[[expected") : GOOD.index("[[artifacts")], ""))
    done = run("check", "drifted.toml", "vague.toml", cwd=folder)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2
    assert "warning: drifted.toml:11: task.code_sha256" in done.stderr
    assert builtin_code_digest("text_classification") in done.stderr
    assert "warning: vague.toml: expected" in done.stderr


def test_pins_that_a_run_does_without_are_warnings(folder: Path) -> None:
    text = GOOD.replace(f', manifest_digest = "{DIGEST}", config_digest = "{DIGEST}"', "")
    (folder / "less.toml").write_text(text.replace(f', hash = "{HASH}"', ""))
    done = run("check", "less.toml", cwd=folder)
    assert done.returncode == 0
    assert "warning: less.toml:3: image.manifest_digest" in done.stderr
    assert "warning: less.toml:4: environment.hash" in done.stderr
    assert done.stderr.count("checks less: `repro-tui lock less.toml` pins it") == 2


def test_a_manifest_that_left_its_record_is_warned_of(folder: Path) -> None:
    from repro_tui.manifest.loading import load
    from repro_tui.manifest.pins import pinned_job
    from repro_tui.manifest.record import Record, RecordedImage, write_record

    image = RecordedImage(manifest_digest=DIGEST, config_digest=DIGEST, diff_ids=[])
    job = pinned_job(load(folder / "good.toml"))
    write_record(folder / "record.json", Record(experiment="tiny", job=job, environment={}, image=image))
    pin = hashlib.sha256((folder / "record.json").read_bytes()).hexdigest()
    text = f'{GOOD}\n[recorded]\nfile = "record.json"\nsha256 = "{pin}"\n'
    (folder / "same.toml").write_text(text)
    assert run("check", "same.toml", cwd=folder).stderr == ""
    (folder / "other.toml").write_text(text.replace("seed = 1", "seed = 2"))
    done = run("check", "other.toml", cwd=folder)
    assert done.returncode == 0
    assert "warning: other.toml:5: determinism.seed\n  found   2\n  allowed 1, as recorded" in done.stderr


def test_check_needs_a_manifest(folder: Path) -> None:
    assert run("check", cwd=folder).returncode == 2


def test_schema_is_printed(folder: Path) -> None:
    done = run("schema", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == manifest_schema()


def test_a_manifest_without_a_lock_has_no_pin_of_one(folder: Path) -> None:
    text = GOOD.replace('recipe = "torch-cpu"', f'reference = "example.org/image@sha256:{"c" * 64}"')
    lock = next(line for line in text.splitlines() if line.startswith("environment"))
    (folder / "pulled.toml").write_text(text.replace(lock, "environment = {}"))
    done = run("check", "pulled.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "lock_sha256" not in done.stdout
