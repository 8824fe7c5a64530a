"""Manifests with stages over several seeds, through the real command line and the engine without containers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.project import TRAIN, Project

SECOND = """\
if len(sys.argv) > 3:
    first = open(os.path.join(os.environ["REPRO_INPUTS"], "stages/first/weights.bin")).read()
    assert first.endswith(sys.argv[2]), "the stage before is of the same seed"
"""
STAGES = """
[[stage]]
name = "first"

[stage.task]
command = ["python3", "train.py", "{rate}", "{seed}"]
code = "code"

[stage.hyperparameters]
rate = 0.2

[[stage]]
name = "second"
needs = ["first"]

[stage.task]
command = ["python3", "train.py", "{rate}", "{seed}", "after"]
code = "code"

[stage.hyperparameters]
rate = 0.1
"""


def staged_with(script: str, folder: Path) -> Project:
    """Return an experiment of two stages that run the same script."""
    project = Project(folder, script=script, extra=STAGES)
    project.write()
    text = project.manifest.read_text()
    begin, end = text.index("[task]"), text.index("[determinism]")
    text = text[:begin] + text[end:]
    for name in ("accuracy", "weights"):
        text = text.replace(f'name = "{name}"\n', f'name = "{name}"\nstage = "second"\n')
    project.manifest.write_text(text)
    return project


@pytest.fixture
def staged(tmp_path: Path) -> Project:
    return staged_with(TRAIN + SECOND, tmp_path)


def statuses(folder: Path) -> dict[str, str]:
    report = json.loads((folder / "report.json").read_text())
    return {stage["name"]: stage["status"] for stage in report["stages"]}


def test_each_seed_has_stages_of_its_own_and_keeps_them(staged: Project) -> None:
    done = staged.run("--seeds", "7,8", "--jobs", "2")
    assert done.code == 0, done.err
    (metric,) = done.report["series"]["metrics"]
    assert (metric["stage"], metric["name"], metric["values"]) == ("second", "accuracy", [0.6000000000000001] * 2)
    run = staged.only_run()
    assert all(statuses(run / "seeds" / seed) == {"first": "passed", "second": "passed"} for seed in ("7", "8"))
    means = {(each["stage"], each["name"]): each["value"] for each in done.report["metrics"]}
    assert means == {("first", "accuracy"): pytest.approx(1.2), ("second", "accuracy"): pytest.approx(0.6)}

    once = staged.run()
    assert once.code == 0, once.err
    taken = {stage["name"]: stage for stage in once.report["stages"]}
    assert (taken["first"]["status"], taken["first"]["run"]) == ("cached", f"{run.name}-seed7")
    shown = staged.command("show", once.report["run"]["id"]).out
    assert "stage first cached, of the run" in shown
    compared = staged.command("diff", f"{run.name}/seeds/8", once.report["run"]["id"])
    assert "first: test/accuracy" in compared.out, compared.err

    assert staged.command("prune", "--all").code == 0
    again = staged.run()
    assert {stage["name"]: stage["status"] for stage in again.report["stages"]} == {
        "first": "passed", "second": "passed",
    }  # fmt: skip
    markdown = (staged.runs / again.report["run"]["id"] / "report.md").read_text()
    assert "## Stages" in markdown


def test_a_stage_with_a_link_in_its_folder_ends_there(tmp_path: Path) -> None:
    script = TRAIN + 'os.symlink("weights.bin", os.path.join(os.environ["REPRO_OUT"], "latest"))\n'
    done = staged_with(script, tmp_path).run()
    assert done.code == 4, done.err
    assert "cannot hand on what it wrote" in done.report["summary"]


def test_a_run_that_may_reach_the_network_keeps_no_stage(staged: Project) -> None:
    staged.change("[resources]", "[resources]\nnetwork = true")
    for _ in range(2):
        done = staged.run()
        assert {stage["status"] for stage in done.report["stages"]} == {"passed"}, done.err
