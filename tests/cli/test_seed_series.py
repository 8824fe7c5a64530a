"""Series over seeds and recording, through the real command line, real workers and the engine without containers."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from repro_tui.cli.main import main
from repro_tui.errors import UsageError
from repro_tui.pipeline import launch
from repro_tui.runs.directory import RunDirectory
from tests.cli.project import TRAIN, Project, eventually, processes_of

pytest.importorskip("scipy", reason="needs SciPy: pip install 'repro-tui[statistics]'")

MOVING = TRAIN.replace(
    "value = sum(map(int, data)) * rate", "value = sum(map(int, data)) * rate + int(sys.argv[2]) % 5 * 0.001 - 0.002"
)
"""0.598 to 0.602 by the seed; the manifest's seed 7 gives 0.6."""
SLOW = 'if os.path.exists("{flag}") and sys.argv[2] == "{seed}":\n    {what}\n'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path, script=MOVING, values={"absolute": 0.01, "weights": "0" * 64})
    made.write()
    made.change(made.manifest.read_text().partition("[[expected.digests]]")[2], "\n")
    made.change("[[expected.digests]]", "")
    return made


def unrecorded(project: Project) -> None:
    """Take away what a recording writes."""
    text = project.manifest.read_text().partition("[[expected.metrics]]")[0]
    project.manifest.write_text(re.sub(r'(manifest_digest|\nhash) = "sha256.*', "", text) + "# the end\n")


def record(project: Project, *words: str) -> Any:
    return project.command("record", str(project.manifest), "--engine", "fake", "--plain", "--jobs", "3", *words)


def in_training(run: Path) -> bool:
    journal = run / "events.jsonl"
    return journal.is_file() and '"stage": "train"' in journal.read_text()


def test_a_series_has_a_whole_run_for_each_seed_and_one_verdict(project: Project) -> None:
    done = project.run("--seeds", "8,9", "--jobs", "2")
    assert (done.code, done.report["verdict"]) == (0, "REPRODUCED"), done.err
    series = done.report["series"]
    assert [(each["seed"], each["verdict"]) for each in series["seeds"]] == [(8, "REPRODUCED"), (9, "REPRODUCED")]
    (metric,) = series["metrics"]
    assert metric["values"] == pytest.approx([0.601, 0.602])
    assert metric["mean"] == pytest.approx(0.6015)
    assert series["at_once"] == 2
    run = project.only_run()
    for seed in (8, 9):
        child = run / "seeds" / str(seed)
        assert (child / "report.json").is_file()
        assert json.loads((child / "job/job.json").read_text())["seed"] == seed
    shown = project.command("show", "last")
    assert "0.6015" in shown.out
    assert "REPRODUCED" in shown.out
    assert "## Over the seeds" in (run / "report.md").read_text()
    assert "seed 8: REPRODUCED" in project.command("logs", "last").out
    assert project.command("show", f"{run.name}/seeds/8").out.startswith(f"{run.name}-seed8: ")
    assert len(json.loads(project.command("list", "--json").out)) == 1


def test_a_seed_out_of_its_tolerance_is_named(project: Project) -> None:
    project.change("absolute = 0.01", "absolute = 0.0015")
    project.manifest.write_text(project.manifest.read_text() + "\n[verify]\nseeds = 3\n")
    done = project.run("--jobs", "3")
    assert (done.code, done.report["verdict"]) == (1, "METRICS DIFFER")
    assert "seed 9 is out of the tolerance" in done.report["summary"]


def test_the_stated_test_decides_with_its_power(project: Project) -> None:
    project.change("absolute = 0.01", "absolute = 0.01\nsamples = [0.598, 0.602]\nmargin = 0.002")
    project.manifest.write_text(project.manifest.read_text() + '\n[verify]\nseeds = 2\ntest = "equivalence"\n')
    done = project.run("--jobs", "2")
    assert (done.code, done.report["verdict"]) == (5, "INCONCLUSIVE")
    (metric,) = done.report["series"]["metrics"]
    assert 0 <= metric["power"] < 0.8
    assert "more seeds are needed" in done.report["summary"]


def test_other_seeds_are_no_difference_of_the_job_and_anything_else_is(project: Project) -> None:
    assert project.run().code == 0
    recorded = next(project.runs.iterdir()) / "record.json"
    (project.folder / "record.json").write_bytes(recorded.read_bytes())
    import hashlib

    pin = hashlib.sha256(recorded.read_bytes()).hexdigest()
    project.manifest.write_text(
        project.manifest.read_text() + f'\n[recorded]\nfile = "record.json"\nsha256 = "{pin}"\n'
    )
    done = project.run("--seeds", "2")
    assert done.code == 0, done.report
    project.change("rate = 0.1\n", "rate = 0.2\n")
    drifted = project.run("--seeds", "2")
    assert (drifted.code, drifted.report["verdict"]) == (1, "ENVIRONMENT DRIFT")
    assert "hyperparameters.rate is 0.2, recorded 0.1" in drifted.report["summary"]


def test_a_failed_seed_fails_the_series_and_is_run_again_on_resuming(project: Project) -> None:
    flag = project.folder / "flag"
    project.script = MOVING.replace(
        "import json, os, sys\n", "import json, os, sys\n" + SLOW.format(flag=flag, seed=8, what="sys.exit(3)"), 1
    )
    text = project.manifest.read_text()
    project.write()
    written = project.manifest.read_text()
    pins = dict(re.findall(r"(tree_sha256|bytes) = (.*)", written))
    text = re.sub(
        r"tree_sha256 = .*\nbytes = .*", f"tree_sha256 = {pins['tree_sha256']}\nbytes = {pins['bytes']}", text
    )
    project.manifest.write_text(text)
    flag.touch()
    done = project.run("--seeds", "3", "--jobs", "3")
    assert (done.code, done.report["verdict"]) == (4, "FAILED")
    assert "seed 8 failed" in done.report["summary"].lower()
    assert [each["verdict"] for each in done.report["series"]["seeds"]] == ["REPRODUCED", "FAILED", "REPRODUCED"]
    flag.unlink()
    resumed = project.command("run", "--resume", "last", "--json")
    assert (resumed.code, resumed.report["verdict"]) == (0, "REPRODUCED"), resumed.err
    assert [each["kept"] for each in resumed.report["series"]["seeds"]] == [True, False, True]
    assert "kept from an earlier attempt" in resumed.err
    with pytest.raises(UsageError, match="has finished"):
        launch.resume(RunDirectory(project.only_run()))
    assert (project.only_run() / "seeds/8.before-1").is_dir()


def test_cancel_ends_the_seeds_and_a_killed_series_goes_on(project: Project) -> None:
    project.wish["train"] = "hang"
    process = project.start("run", str(project.manifest), "--engine", "fake", "--plain", "--seeds", "2", "--jobs", "2")
    run = project.wait_for("seeds")
    eventually(lambda: all(in_training(run / f"seeds/{seed}") for seed in (7, 8)))
    assert project.command("cancel", "last", "--now").code == 0
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert processes_of(project.folder) == []
    assert json.loads((run / "report.json").read_text())["verdict"] == "CANCELLED"
    assert project.command("run", "--resume", "last", "--detach").code == 0
    eventually(lambda: all((run / f"seeds/{seed}.before-1").is_dir() for seed in (7, 8)))
    eventually(lambda: in_training(run / "seeds/7"))
    os.kill(int((run / "worker.lock").read_text()), signal.SIGKILL)
    eventually(lambda: processes_of(project.folder) == [], timeout_s=40)
    assert "died" in project.command("list").out
    project.wish["train"] = ""
    done = project.command("run", "--resume", "last", "--json")
    assert (done.code, done.report["verdict"]) == (0, "REPRODUCED"), done.err


def test_recording_makes_a_manifest_that_is_reproduced(project: Project) -> None:
    unrecorded(project)
    done = record(project, "--seeds", "2")
    assert done.code == 0, done.err
    assert "level: bitwise" in done.out
    assert "INCONCLUSIVE" not in done.err, "nothing is judged while it is recorded"
    assert "2 seeds say little" in done.err
    assert "next: `repro-tui run " in done.err
    text = project.manifest.read_text()
    assert "# 95 % prediction interval for one further seed, from 2\n" in text
    assert "# the end\n" in text
    assert "seeds = [7, 8]" in text
    assert 'cpu_vendor = "Acme"' in text
    assert project.run().code == 0


def test_recording_leaves_what_is_there_but_with_force(project: Project) -> None:
    project.change("value = 0.6", "value = 0.605")
    kept = record(project)
    assert kept.code == 0, kept.err
    assert "kept expected.metrics[0].value" in kept.out
    assert "value = 0.605" in project.manifest.read_text()
    done = record(project, "--force")
    assert done.code == 0, done.err
    assert "was 0.605" in done.out
    assert "that is a guess" in project.manifest.read_text()
    assert project.run().code == 0


def test_a_recording_that_failed_changes_nothing_and_goes_on(project: Project) -> None:
    unrecorded(project)
    before = project.manifest.read_bytes()
    project.wish.update(killed="train", once=str(project.folder / "once"))
    failed = record(project, "--seeds", "2")
    assert failed.code in {3, 4}
    assert "nothing is recorded: seed " in failed.err
    assert project.manifest.read_bytes() == before
    done = record(project, "--seeds", "2")
    assert done.code == 0, done.err
    assert "kept from an earlier attempt" in done.err
    assert "samples = [" in project.manifest.read_text()
    assert len(list(project.runs.iterdir())) == 1


def test_a_manifest_that_cannot_be_written_is_refused_before_the_training(project: Project) -> None:
    project.manifest.chmod(0o444)
    done = record(project)
    assert done.code == 2, done.err
    assert "read-only" in done.err
    assert not project.runs.exists()


def test_a_test_that_needs_scipy_says_so_before_anything_is_begun(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.change("absolute = 0.01", "absolute = 0.01\nsamples = [0.598, 0.602]\nmargin = 0.002")
    project.manifest.write_text(project.manifest.read_text() + '\n[verify]\nseeds = 2\ntest = "equivalence"\n')
    monkeypatch.chdir(project.folder)
    for name in ("scipy", "scipy.stats"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["run", "tiny.toml"]) == 3
    assert "repro-tui[statistics]" in capsys.readouterr().err
    assert not project.runs.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "tiny.toml", "--seeds", "0"), "neither how many"),
        (("run", "tiny.toml", "--seeds", "1,1"), "neither how many"),
        (("run", "tiny.toml", "--seeds", "2", "--seed", "1"), "not allowed with"),
        (("run",), "which manifest?"),
        (("run", "tiny.toml", "--resume", "last"), "takes the manifest from the series"),
        (("run", "--resume", "last"), "there is no run"),
        (("record", "tiny.toml", "--seeds", "1,2"), "without 7, the manifest's own"),
        (("record", "tiny.toml", "--confidence", "95"), "is no confidence"),
    ],
)
def test_what_cannot_be_is_said(
    project: Project,
    words: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(project.folder)
    try:
        code = main(words)
    except SystemExit as left:
        code = int(left.code or 0)
    assert code == 2
    assert said in capsys.readouterr().err
    assert not project.runs.exists()
