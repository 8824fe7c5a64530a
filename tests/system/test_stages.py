"""A manifest with stages, whole: cached, changed behind its back, killed and resumed, recorded, packed, compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.system.lab import PRELUDE, Lab, Manifest, Result, sha256

PRETRAIN = """
job = json.loads(Path(os.environ["REPRO_JOB"]).read_text())
print("pretraining", flush=True)
tell("phase", phase="train")
for step in (1, 2, 3):
    tell("step", step=step, total=3, loss=1 / step)
value = float(sys.argv[1])
if value < 0:
    sys.exit("no value below zero")
(OUT / "weights.json").write_text(json.dumps({"value": value, "seed": job["seed"]}))
tell("output", name="weights", path="/out/weights.json")
tell("metric", name="accuracy", value=0.5, split="test")
tell("stage", stage="fine-tune")
tell("metric", name="loss", value=value, split="train")
"""
FINE_TUNE = """
weights = json.loads((INPUTS / "stages/pretrain/weights.json").read_text())
print("fine-tuning from", weights, flush=True)
assert sorted(path.name for path in (INPUTS / "stages/pretrain").iterdir()) == ["weights.json"]
tell("phase", phase="train")
hold = INPUTS / "hold/hold.txt"
while hold.exists() and "hold" in hold.read_text():
    time.sleep(0.05)
tell("step", step=1, total=1, loss=0.25)
tell("phase", phase="evaluate")
tell("output", name="weights", path="tuned.json")
(OUT / "tuned.json").write_text(json.dumps(weights))
tell("metric", name="accuracy", value=0.5 + weights["value"], split="test")
"""


@pytest.fixture
def staged(lab: Lab, tmp_path: Path) -> Lab:
    """Return an experiment of two stages that expects what they give, with a store of its own beside the image's."""
    lab.script(PRETRAIN)
    (lab.folder / "code" / "tune.py").write_text(PRELUDE + FINE_TUNE, encoding="utf-8")
    lab.repin_code()
    store = tmp_path / "store"
    shutil.copytree(lab.store, store, symlinks=True, copy_function=_link)
    lab.store = store
    for key in ("task", "splits", "hyperparameters"):
        lab.manifest.pop(key, None)
    lab.manifest["stage"] = [
        {"name": "pretrain", "task": {"command": ["python3", "train.py", "{value}"], "code": "code"},
         "hyperparameters": {"value": 0.25}},
        {"name": "fine-tune", "needs": ["pretrain"], "task": {"command": ["python3", "tune.py"], "code": "code"}},
    ]  # fmt: skip
    lab.manifest["expected"] = {
        "metrics": [
            {"name": "accuracy", "stage": "pretrain", "value": 0.5, "absolute": 0.0},
            {"name": "accuracy", "stage": "fine-tune", "value": 0.75, "absolute": 0.0},
        ]
    }
    lab.manifest.pop("recorded", None)
    return lab


def _link(source: str, target: str) -> str:
    Path(target).hardlink_to(source)
    return target


def stages(done: Result) -> dict[str, Any]:
    """Return what the report says of the stages, by name."""
    return {stage["name"]: stage for stage in done.report["stages"]}


def test_two_stages_run_once_and_then_the_first_comes_from_the_store(staged: Lab) -> None:
    first = staged.run().expect(0, "REPRODUCED")
    assert {name: stage["status"] for name, stage in stages(first).items()} == {
        "pretrain": "passed", "fine-tune": "passed",
    }  # fmt: skip
    assert first.run is not None
    assert (first.run / "out/pretrain/weights.json").is_file()
    lines = [json.loads(line) for line in (first.run / "out/metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines if line["event"] == "stage"] == ["pretrain", "fine-tune"]
    values = {(each["stage"], each["split"], each["name"]): each["value"] for each in first.report["metrics"]}
    assert values == {
        ("pretrain", "test", "accuracy"): 0.5, ("pretrain", "train", "loss"): 0.25,
        ("fine-tune", "test", "accuracy"): 0.75,
    }  # fmt: skip
    assert [(each["name"], each["path"]) for each in first.report["outputs"]] == [
        ("pretrain: weights", "pretrain/weights.json"), ("fine-tune: weights", "fine-tune/tuned.json"),
    ]  # fmt: skip

    second = staged.run().expect(0, "REPRODUCED")
    taken = stages(second)["pretrain"]
    assert (taken["status"], taken["run"]) == ("cached", first.run.name)
    assert taken["tree_sha256"] == stages(first)["pretrain"]["tree_sha256"]
    assert second.report["metrics"] == first.report["metrics"]
    assert second.report["outputs"] == first.report["outputs"]
    assert second.run is not None
    log = (second.run / "logs/train.log").read_text()
    assert "taken from the run" in log
    assert "pretraining" in log

    fresh = staged.run("--fresh").expect(0, "REPRODUCED")
    assert stages(fresh)["pretrain"]["status"] == "passed"

    def other(manifest: Manifest) -> None:
        manifest["stage"][0]["hyperparameters"]["value"] = 0.5

    changed = staged.run(change=other).expect(1, "METRICS DIFFER")
    assert stages(changed)["pretrain"]["status"] == "passed"
    assert set(changed.differing) == {"metric fine-tune: test/accuracy"}

    tree = next(path for path in (staged.store / "trees").iterdir() if path.name == taken["tree_sha256"])
    (tree / "weights.json").chmod(0o644)
    (tree / "weights.json").write_text('{"value": 0.26, "seed": 42}')
    healed = staged.run().expect(0, "REPRODUCED")
    assert stages(healed)["pretrain"]["status"] == "passed", "a changed byte is found, and the stage runs again"


def test_a_run_killed_in_its_second_stage_goes_on_after_the_first(staged: Lab) -> None:
    hold = staged.folder / "hold.txt"
    _hold(staged, hold, "hold")
    going = staged.begin()
    going.wait_for("task_stage", name="fine-tune")
    going.wait_for("stage_progress", stage="train", text="2 of 2, fine-tune")
    going.kill_worker()
    going.process.kill()
    going.process.communicate()
    again = staged.begin()
    cached = again.wait_for("task_stage", name="pretrain", status="cached")
    assert cached["run"] == going.run.name
    assert staged.command("cancel", again.run.name, "--runs", str(staged.runs)).code == 0
    again.end()


def test_a_stage_that_fails_is_named_and_nothing_of_it_is_kept(staged: Lab) -> None:
    def broken(manifest: Manifest) -> None:
        manifest["stage"][0]["hyperparameters"]["value"] = -1

    failed = staged.run(change=broken).expect(4, "FAILED")
    assert failed.summary == "The stage pretrain ended with exit code 1: no value below zero."
    assert "fine-tune" not in stages(failed)
    assert not list((staged.store / "derived").glob("stages/*/stage.json"))


def test_it_is_recorded_packed_unpacked_and_compared(staged: Lab, tmp_path: Path) -> None:
    staged.manifest.pop("expected")
    staged.write()
    places = ["--store", str(staged.store), "--runs", str(staged.runs)]
    mirrors = [word for mirror in staged.mirrors for word in ("--mirror", str(mirror))]
    recorded = staged.command("record", str(staged.manifest_path), "--engine", "embedded", "--plain", *places, *mirrors)
    assert recorded.code == 0, str(recorded)
    text = staged.manifest_path.read_text()
    assert text.count('stage = "pretrain"') >= 2, text
    again = staged.command("run", str(staged.manifest_path), "--json", "--engine", "embedded", *places, *mirrors)
    assert again.code == 0, str(again)
    assert {check["name"] for check in again.report["checks"]} >= {
        "metric pretrain: test/accuracy", "digest pretrain: weights", "digest fine-tune: weights",
    }  # fmt: skip
    bundle = tmp_path / "staged.repro"
    packed = staged.command("pack", str(staged.manifest_path), "-o", str(bundle), *places, *mirrors)
    assert packed.code == 0, str(packed)
    opened = staged.command("run", str(bundle), "--json", "--engine", "embedded", *places)
    assert opened.code == 0, str(opened)
    runs = sorted(staged.run_folders(), key=lambda path: path.stat().st_mtime)
    compared = staged.command("diff", runs[-2].name, runs[-1].name, "--runs", str(staged.runs))
    assert compared.code == 0, str(compared)
    assert "pretrain: test/accuracy" in compared.out, str(compared)


def _hold(staged: Lab, file: Path, text: str) -> None:
    file.write_text(text)
    staged.manifest["artifacts"].append(
        {
            "name": "hold", "kind": "data", "path": "hold/hold.txt", "sha256": sha256(file),
            "bytes": file.stat().st_size, "sources": [{"type": "local", "path": file.name}],
        }
    )  # fmt: skip
