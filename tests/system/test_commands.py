"""A real run from several shells: detach, attach, cancel, list, show, logs; and what nobody should type."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.system.lab import Lab, Result, nothing_left, wait_until

SLOW = """
print("first words", flush=True)
tell("phase", phase="train")
for step in range(1, 6):
    tell("step", step=step, total=5, loss=1 / step)
    time.sleep(0.3)
print("last words", flush=True)
tell("metric", name="accuracy", value=0.75)
"""
ENDLESS = """
(OUT / "half.txt").write_text("half of it")
print("begun", flush=True)
tell("phase", phase="train")
tell("step", step=1, total=2, loss=0.5)
time.sleep(600)
"""


def detached(lab: Lab, script: str) -> Path:
    """Start a run and let it go; return its folder."""
    lab.script(script)
    lab.write()
    words = [word for word in lab.words() if word != "--json"]
    started = time.monotonic()
    done = lab.command(*words, "--detach")
    assert done.code == 0, str(done)
    assert time.monotonic() - started < 10
    run = lab.runs / done.out.strip()
    assert run.is_dir()
    return run


def training(run: Path) -> None:
    """Wait until the training has begun to speak."""
    wait_until((run / "out/metrics.jsonl").exists)


def test_detach_then_look_from_other_shells(lab: Lab) -> None:
    run = detached(lab, SLOW)
    runs = ["--runs", str(lab.runs)]
    follower = lab.start("logs", "-f", "--stage", "train", run.name, *runs)
    training(run)
    listed = json.loads(lab.command("list", "--json", *runs).out)
    assert [(entry["id"], entry["exit_code"]) for entry in listed] == [(run.name, None)]
    assert listed[0]["status"] not in {"REPRODUCED", "died"}
    shown = lab.command("show", "last", *runs)
    assert shown.code == 0
    assert "RUNNING" in shown.out
    lab.command("attach", run.name[:12], "--json", *runs).expect(0, "REPRODUCED")
    out, err = follower.communicate(timeout=30)
    assert (follower.returncode, out, err) == (0, "first words\nlast words\n", "")
    shown = lab.command("show", run.name, *runs)
    assert "REPRODUCED" in shown.out
    assert json.loads(lab.command("show", "--json", run.name, *runs).out)["verdict"] == "REPRODUCED"
    assert "# " in lab.command("show", "--markdown", run.name, *runs).out
    assert "last words" in lab.command("logs", run.name, *runs).out
    assert json.loads(lab.command("list", "--json", *runs).out)[0]["status"] == "REPRODUCED"
    nothing_left(run.name)


def cancelled(run: Path, attached: Result) -> None:
    """Assert what a cancelled run leaves."""
    assert attached.code == 130, str(attached)
    report = json.loads((run / "report.json").read_text())
    assert (report["verdict"], report["exit_code"]) == ("CANCELLED", 130)
    assert (run / "report.md").is_file()
    assert (run / "out/half.txt").read_text() == "half of it"
    assert not (run / "record.json").exists()
    nothing_left(run.name)


@pytest.mark.parametrize("now", [False, True])
def test_cancel_from_another_shell(lab: Lab, now: bool) -> None:
    run = detached(lab, ENDLESS)
    training(run)
    follower = lab.start("attach", str(run), "--json")
    done = lab.command("cancel", str(run), *(["--now"] if now else []))
    assert done.code == 0, str(done)
    assert "stopped" in done.err
    out, err = follower.communicate(timeout=30)
    cancelled(run, Result(follower.returncode, out, err))
    again = lab.command("cancel", str(run))
    assert again.code == 1
    assert "not running" in again.err


def test_ctrl_c_cancels(lab: Lab) -> None:
    lab.script(ENDLESS)
    going = lab.begin()
    wait_until((going.run / "out/metrics.jsonl").exists)
    going.process.send_signal(signal.SIGINT)
    done = going.end()
    cancelled(going.run, done)
    assert done.verdict == "CANCELLED"


def test_ctrl_c_in_attach_only_leaves(lab: Lab) -> None:
    run = detached(lab, SLOW)
    training(run)
    follower = lab.start("attach", str(run))
    time.sleep(0.7)
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=30)
    assert follower.returncode == 130
    assert "the run goes on" in err
    lab.command("attach", str(run), "--json").expect(0, "REPRODUCED")


def test_a_reader_that_leaves_early_is_no_error(lab: Lab) -> None:
    lab.expect_reproduced()
    process = lab.start("logs", "last", "--runs", str(lab.runs))
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(30) in {0, -signal.SIGPIPE}
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


# --- bad input --------------------------------------------------------------------------------------------------------


def _told(done: Result, code: int, *words: str) -> None:
    assert done.code == code, str(done)
    assert done.out == "", str(done)
    assert "Traceback" not in done.err
    assert "this should not have happened" not in done.err
    for word in words:
        assert word in done.err, str(done)


MANIFESTS: list[tuple[str, bytes | None, tuple[str, ...]]] = [
    ("missing", None, ("manifest.toml",)),
    ("empty", b"", ("an empty file",)),
    ("binary", bytes(range(256)) * 8, ("manifest.toml",)),
    ("not TOML", b"schema = 1\n[experiment\nname = 3\n", ("manifest.toml:2", "not TOML")),
    ("twice the same key", b"schema = 1\nschema = 1\n", ("manifest.toml:2", "not TOML")),
    ("JSON", b'{"schema": 1}', ("manifest.toml:1", "not TOML")),
    ("another schema", b"schema = 2\n", ("schema", "1")),
    ("huge", b"#" + b"x" * (20 << 20), ("manifest.toml",)),
]


@pytest.mark.parametrize(("content", "words"), [row[1:] for row in MANIFESTS], ids=[row[0] for row in MANIFESTS])
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_manifest_that_is_none(lab: Lab, command: str, content: bytes | None, words: tuple[str, ...]) -> None:
    lab.manifest_path.unlink()
    if content is not None:
        lab.manifest_path.write_bytes(content)
    _told(lab.command(command, str(lab.manifest_path)), 2, *words)
    assert not lab.run_folders()


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_folder_for_a_manifest(lab: Lab, command: str) -> None:
    _told(lab.command(command, str(lab.folder)), 2, str(lab.folder))


WORDS: list[tuple[list[str], str]] = [
    (["--frobnicate"], "--frobnicate"),
    (["run"], "MANIFEST"),
    (["--run"], "MANIFEST"),
    (["fly"], "fly"),
    (["run", "manifest.toml", "--engine", "podmann"], "podmann"),
    (["run", "manifest.toml", "--seed", "many"], "many"),
    (["run", "manifest.toml", "--mirror", "not/there"], "not/there"),
    (["show", "nobody"], "nobody"),
    (["attach", "nobody"], "nobody"),
    (["cancel", "nobody"], "nobody"),
    (["logs", "nobody"], "nobody"),
    (["show", "last"], "last"),
    (["image", "build", "nothing"], "nothing"),
]


@pytest.mark.parametrize(("words", "named"), WORDS, ids=[" ".join(words) for words, _ in WORDS])
def test_a_command_line_that_cannot_be(lab: Lab, words: list[str], named: str) -> None:
    lab.write()
    _told(lab.command(*words), 2, named)


def test_the_logs_of_a_stage_that_is_none(lab: Lab) -> None:
    lab.expect_reproduced()
    _told(lab.command("logs", "last", "--runs", str(lab.runs), "--stage", "dream"), 2, "dream", "train")


@pytest.mark.parametrize("place", ["store", "runs"])
@pytest.mark.parametrize("kind", ["not writable", "a file", "below a file"])
def test_a_place_that_cannot_be_written(lab: Lab, tmp_path: Path, place: str, kind: str) -> None:
    target = tmp_path / "place"
    if kind == "not writable":
        if os.getuid() == 0:
            target = Path("/sys/place")
        else:
            target.mkdir(mode=0o555)
    else:
        target.write_text("")
        target = target / "below" if kind == "below a file" else target
    if place == "store":
        lab.store = target
    else:
        lab.runs = target
    done = lab.run()
    assert done.code == 3, str(done)
    assert "Traceback" not in done.err
    assert str(target) in done.err
    assert "hint" in done.err
    if place == "store":
        lab.store = tmp_path
        assert done.report["verdict"] == "FAILED"
