"""Record one real run of the embedded engine for every state that the terminal UI shows: `python -m tests.tui.record`,
`python -m tests.tui.record series` for those over seeds.

The experiment is the one of tests/system with a training that says more. What a run directory tells of the machine it
was made on (times, paths, process ids) is replaced, and what no screen reads is left out, so a recording is small and
says the same wherever it is looked at.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from repro_tui.artifacts.store import default_store_path, remove_tree
from repro_tui.runs.directory import RunDirectory
from tests.system.conftest import first_manifest, pinned, write_experiment
from tests.system.lab import Going, Lab, Manifest, sha256

RECORDED = Path(__file__).with_name("recorded")
TRAINING = Path(__file__).with_name("experiment") / "train.py"
STARTED_AT = 1767268800.0
"""When the first recording began: 2026-01-01 12:00 UTC; each further one an hour later."""
NAME = "two-clouds"
TITLE = "Two clouds of points, told apart by logistic regression"
KEPT = (
    "manifest.toml", "options.json", "events.jsonl", "environment.json", "report.json", "report.md", "worker.lock",
    "cancel", "out/metrics.jsonl", "logs/train.log", "logs/worker.log", "logs/environment.log", "logs/seeds.log",
)  # fmt: skip
OF_A_SEED = frozenset(KEPT) - {"environment.json", "report.md", "logs/worker.log", "logs/environment.log"}
ORDER = ("inconclusive", "reproduced", "differs", "drift", "failed", "cancelled", "running")
NOW = STARTED_AT + 3600.0 * (len(ORDER) - 1) + 30.0
"""Half a minute into the run that is going on, long after all the others."""
SERIES = ("series", "series-running")
_EACH = (*ORDER, *SERIES)
PID = 4242
_STAMP = re.compile(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def run_id(recording: Path) -> str:
    """Return the id of a recorded run."""
    with (recording / "events.jsonl").open(encoding="utf-8") as file:
        return str(json.loads(file.readline())["run_id"])


def laboratory(folder: Path, mirrors: Sequence[Path]) -> Lab:
    """Return the experiment in `folder`, with nothing recorded yet."""
    experiment = folder / "paper"
    write_experiment(experiment)
    shutil.copy(TRAINING, experiment / "code/train.py")
    manifest = first_manifest(experiment)
    manifest["experiment"] |= {"name": NAME, "title": TITLE}
    manifest["task"]["command"] = ["python3", "train.py", "{rate}", "{steps}", "{pause_s}"]
    manifest["hyperparameters"] = {"rate": 0.02, "steps": 60, "pause_s": 0.05}
    return Lab(experiment, folder / "store", experiment / "runs", mirrors, manifest)


def record(folder: Path) -> None:
    """Make every recording anew."""
    lab = laboratory(folder, [default_store_path() / "blobs"])
    first = lab.run("--offline").expect(5, "INCONCLUSIVE")
    lab.manifest = pinned(lab, first)
    expected = lab.manifest["expected"]["metrics"][0]
    macro_f1 = next(each["value"] for each in first.report["metrics"] if each["name"] == "macro_f1")
    lab.manifest["expected"]["metrics"].append({"name": "macro_f1", "value": macro_f1, "absolute": 0.01})
    made = {"inconclusive": first.run, "reproduced": lab.run("--offline").expect(0, "REPRODUCED").run}

    def other_metric(manifest: Manifest) -> None:
        manifest["expected"]["metrics"][0]["value"] = expected["value"] - 0.05

    made["differs"] = lab.run("--offline", change=other_metric).expect(1, "METRICS DIFFER").run

    def one_package_less(manifest: Manifest) -> None:
        lock = lab.folder / "fewer.txt"
        whole = (lab.folder / "small.txt").read_text(encoding="utf-8")
        lock.write_text("".join(f"{line}\n" for line in whole.splitlines() if "idna" in line), encoding="utf-8")
        manifest["environment"] |= {"lock": "fewer.txt", "lock_sha256": sha256(lock)}
        manifest["environment"]["variables"] = {"MALLOC_ARENA_MAX": "4"}

    drifted = lab.run("--offline", "--allow-drift", change=one_package_less)
    made["drift"] = drifted.expect(1, "ENVIRONMENT DRIFT").run

    def unbearable(manifest: Manifest) -> None:
        del manifest["recorded"]
        manifest["hyperparameters"]["rate"] = 60.0

    failed = lab.run("--offline", change=unbearable)
    assert failed.code == 4, str(failed)
    made["failed"] = failed.run
    going = lab.begin("--offline", change=slowly)
    going.wait_for("stage_progress", stage="train", done=25)
    shutil.copytree(going.run, folder / "running")
    RunDirectory(going.run).request_cancel("repro-tui cancel")
    made["cancelled"] = going.end().expect(130, "CANCELLED").run
    made["running"] = folder / "running"
    for name in ORDER:
        path = made[name]
        assert path is not None, name
        strip(path, name, replacements={str(lab.folder): "/home/reader/paper", str(lab.store): "/home/reader/store"})


def record_series(folder: Path) -> None:
    """Make the two series anew: one that was judged by the test of its manifest, one that is going on."""
    lab = laboratory(folder, [default_store_path() / "blobs"])
    lab.manifest["hyperparameters"]["steps"] = 20
    lab.manifest = pinned(lab, lab.run("--offline").expect(5, "INCONCLUSIVE"))
    samples = lab.run("--offline", "--seeds", "11,12,13,14,15,16").report["series"]["metrics"][0]["values"]
    lab.manifest["expected"]["metrics"][0] |= {
        "samples": samples, "seeds": [11, 12, 13, 14, 15, 16], "margin": 0.03, "absolute": 0.05,
    }  # fmt: skip
    lab.manifest["verify"] = {"seeds": [42, 21, 22], "test": "equivalence"}
    done = lab.run("--offline", "--jobs", "2")
    assert done.run is not None, str(done)
    going = lab.begin("--offline", "--jobs", "1", "--seeds", "42,43,44", change=slowly)
    going.wait_for("notice", message="seed 42: REPRODUCED")
    inner = Going(going.process, going.run / "seeds/43")
    inner.wait_for("stage_progress", stage="train", done=12)
    time.sleep(1)  # until the series has told of it
    shutil.copytree(going.run, folder / "series-running")
    RunDirectory(going.run).request_cancel("repro-tui cancel")
    going.end()
    for name, path in (("series", done.run), ("series-running", folder / "series-running")):
        strip(path, name, replacements={str(lab.folder): "/home/reader/paper", str(lab.store): "/home/reader/store"})


def slowly(manifest: Manifest) -> None:
    """Leave time to look at it."""
    del manifest["recorded"]
    manifest["hyperparameters"]["pause_s"] = 0.25


def strip(run: Path, name: str, replacements: dict[str, str]) -> None:
    """Write what is kept of a run directory, with the machine's own names, times and paths replaced."""
    shutil.rmtree(RECORDED / name, ignore_errors=True)
    place = _EACH.index(name)
    begin = STARTED_AT + 3600.0 * min(place, len(ORDER) - 1) - 1800.0 * (place >= len(ORDER))
    started = _events(run)[0]
    stamp = datetime.fromtimestamp(begin, UTC).strftime("%Y%m%dT%H%M%SZ")
    words = {
        **replacements,
        started["run_id"]: f"{started['experiment']}-{stamp}-{place:04x}",
        str(default_store_path() / "blobs"): "/home/reader/mirror",
        str(Path(sys.prefix)): "/home/reader/.venv",
        f"Linux {os.uname().release}": "Linux 6.1.0",
    }
    _strip(run, RECORDED / name, words, begin, begin - started["at"])
    for seed in sorted((run / "seeds").glob("*")):
        _strip(seed, RECORDED / name / "seeds" / seed.name, words, begin, begin - started["at"])


def _events(run: Path) -> list[Manifest]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def _strip(run: Path, target: Path, words: Mapping[str, str], begin: float, shift: float) -> None:
    events = _events(run)

    def other(text: str) -> str:
        for old, new in {**words, f'"pid": {events[0]["pid"]}': f'"pid": {PID}'}.items():
            text = text.replace(old, new)
        return _STAMP.sub(lambda found: _moved(found[0], shift), text)

    for kept in KEPT:
        source = run / kept
        if not source.is_file() or (kept not in OF_A_SEED and target.parent.name == "seeds"):
            continue
        text = source.read_text(encoding="utf-8")
        if kept == "events.jsonl":
            bodies = [{**event, "at": round(event["at"] + shift, 3)} for event in events]
            text = "".join(json.dumps(body, ensure_ascii=False) + "\n" for body in bodies)
        elif kept == "environment.json":
            text = json.dumps(_slim(json.loads(text))) + "\n"
        elif kept == "worker.lock":
            text = f"{PID}\n"
        elif kept == "cancel":
            text = json.dumps({"at": begin + 30.0, "by": "repro-tui cancel"}) + "\n"
        (target / kept).parent.mkdir(parents=True, exist_ok=True)
        (target / kept).write_text(other(text), encoding="utf-8")


def _moved(stamp: str, shift: float) -> str:
    moved = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S%z").timestamp() + shift
    return datetime.fromtimestamp(moved, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _slim(environment: Manifest) -> Manifest:
    """Keep every kind of thing that the probe tells, a few of each."""
    slim = copy.deepcopy(environment)
    for key in ("base", "other", "libraries"):
        if isinstance(environment[key], dict):
            slim[key] = dict(list(environment[key].items())[:4])
    return slim


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp(prefix="repro-tui-record-"))
    try:
        (record_series if sys.argv[1:] == ["series"] else record)(place)
    finally:
        remove_tree(place)
