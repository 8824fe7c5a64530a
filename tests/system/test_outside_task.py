"""A task of a package of somebody else, installed beside repro-tui: known by its declarations, run, pinned, bundled."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from repro_tui.artifacts.store import remove_tree
from tests.system.lab import Lab, clone_store

TASK = '''"""Nearest mean: a point is of the class whose mean is nearest."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from nearest_mean.means import mean, nearest
from repro_tui import wire
from repro_tui.tasks.common.job import Job, run

if TYPE_CHECKING:
    from annotated_types import Ge, Lt

SPLITS = ("train", "test")
FORMATS = ("tsv",)
CHECKPOINT = "none"
METRICS = ("accuracy",)
OUTPUTS = ("weights",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hyperparameters of the task."""

    shrinkage: Annotated[float, Ge(0), Lt(1)] = 0.0
    """How far the means are drawn to the mean of all, as a fraction of the way."""
    distance: Literal["euclidean", "manhattan"] = "euclidean"
    """How far two points are apart."""


def rows(split: dict) -> list[tuple[str, list[float]]]:
    with open(split["path"], encoding="utf-8") as file:
        head, *lines = (line.rstrip("\\n").split("\\t") for line in file)
    label = head.index(split["label"])
    columns = [index for index in range(len(head)) if index != label]
    return [(line[label], [float(line[index]) for index in columns]) for line in lines]


def main(job: Job) -> None:
    settings = job.settings(Settings)
    train, test = rows(job.splits["train"]), rows(job.splits["test"])
    wire.emit("phase", phase="train")
    whole = mean([point for _, point in train])
    means = {}
    for name in sorted({name for name, _ in train}):
        own = mean([point for each, point in train if each == name])
        means[name] = [a + settings.shrinkage * (b - a) for a, b in zip(own, whole)]
    (job.out / "means.json").write_text(json.dumps(means), encoding="utf-8")
    wire.emit("output", name="weights", path="means.json")
    wire.emit("phase", phase="evaluate")
    right = sum(nearest(means, point, settings.distance) == name for name, point in test)
    wire.emit("metric", name="accuracy", value=right / len(test), split="test")


if __name__ == "__main__":
    sys.exit(run(main))
'''
MEANS = '''"""Means and distances."""


def mean(points):
    return [sum(column) / len(points) for column in zip(*points)]


def nearest(means, point, distance):
    power = 2 if distance == "euclidean" else 1
    return min(means, key=lambda name: sum(abs(a - b) ** power for a, b in zip(means[name], point)))
'''
FILES = {
    "nearest_mean/__init__.py": "raise RuntimeError('the host imports no task')\n",
    "nearest_mean/task.py": TASK,
    "nearest_mean/means.py": MEANS,
    "nearest_mean/unused.py": "nothing = 1\n",
    "nearest_mean-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: nearest-mean\nVersion: 1.0\n",
    "nearest_mean-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "nearest_mean-1.0.dist-info/entry_points.txt": "[repro_tui.tasks]\nnearest_mean = nearest_mean.task\n",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the package's wheel."""
    path = tmp_path_factory.mktemp("wheel") / "nearest_mean-1.0-py3-none-any.whl"
    recorded = [f"{name},sha256={_short(text)},{len(text.encode())}" for name, text in FILES.items()]
    record = "nearest_mean-1.0.dist-info/RECORD"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**FILES, record: "\n".join([*recorded, f"{record},,"]) + "\n"}.items():
            archive.writestr(name, text)
    return path


def _short(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def outside(lab: Lab, wheel: Path, tmp_path: Path) -> Iterator[Lab]:
    """Return an experiment with the package's task, nothing recorded; the package is installed into `packages`."""
    packages = tmp_path / "packages"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps",
         "--target", str(packages), str(wheel)],
        check=True,
    )  # fmt: skip
    lab.environment = {"PYTHONPATH": str(packages)}
    lab.manifest["artifacts"] = [lab.artifact("train"), lab.artifact("test")]
    lab.manifest["task"] = {"name": "nearest_mean"}
    lab.manifest["hyperparameters"] = {"shrinkage": 0.25}
    for key in ("expected", "recorded"):
        del lab.manifest[key]
    lab.store = clone_store(lab.store, tmp_path / "store")
    yield lab
    remove_tree(lab.store)


def checked(lab: Lab, code: int) -> dict[str, Any]:
    """Return what `repro-tui check` says of the manifest as it is in its file."""
    done = lab.command("check", "--json", str(lab.manifest_path)).expect(code)
    found: dict[str, Any] = done.report["manifests"][0]
    return found


@pytest.mark.parametrize(
    ("given", "key", "words"),
    [
        ({"shrinkage": 1.0}, "hyperparameters.shrinkage", "less than 1"),
        ({"distance": "cosine"}, "hyperparameters.distance", "manhattan"),
        ({"shrinkag": 0.5}, "hyperparameters.shrinkag", "shrinkage"),
    ],
)
def test_check_knows_its_settings(outside: Lab, given: dict[str, object], key: str, words: str) -> None:
    outside.write(lambda manifest: manifest.update(hyperparameters=given))
    (problem,) = checked(outside, 2)["problems"]
    assert problem["toml_path"] == key
    assert words in json.dumps(problem)


def test_check_knows_its_splits_formats_and_metrics(outside: Lab) -> None:
    def change(manifest: dict[str, Any]) -> None:
        del manifest["splits"]["test"]
        manifest["splits"]["train"]["format"] = "jsonl"
        manifest["expected"] = {"metrics": [{"name": "recall", "split": "train", "value": 1.0, "absolute": 0.0}]}

    outside.write(change)
    problems = {problem["toml_path"] for problem in checked(outside, 2)["problems"]}
    assert problems == {"splits.test", "splits.train.format", "expected.metrics[0].name"}


def test_without_the_package_there_is_no_such_task(outside: Lab) -> None:
    outside.environment = {}
    outside.write()
    (problem,) = checked(outside, 2)["problems"]
    assert problem["toml_path"] == "task.name"
    assert "nearest_mean" in json.dumps(problem)


def test_it_is_recorded_reproduced_noticed_when_it_changes_and_carried_by_a_bundle(
    outside: Lab, tmp_path: Path
) -> None:
    outside.write()
    found = checked(outside, 0)
    assert "task.code_sha256" in {warning["toml_path"] for warning in found["warnings"]}
    places = ["--store", str(outside.store), "--runs", str(outside.runs)]
    mirrors = [word for mirror in outside.mirrors for word in ("--mirror", str(mirror))]
    manifest = str(outside.manifest_path)
    options = ["--json", "--engine", "embedded", *places, *mirrors]
    outside.command("record", manifest, "--engine", "embedded", "--plain", *places, *mirrors).expect(0)
    pin = found["pins"]["task.code_sha256"]
    assert f'code_sha256 = "{pin}"' in outside.manifest_path.read_text()
    assert checked(outside, 0)["warnings"] == []

    done = outside.command("run", manifest, *options).expect(0, "REPRODUCED")
    assert {check["status"] for check in done.report["checks"]} == {"match"}
    assert {"task code", "job", "metric test/accuracy", "digest weights"} <= set(done.checks)
    (accuracy,) = done.report["metrics"]
    assert 0.5 < accuracy["value"] <= 1.0

    bundle = tmp_path / "outside.repro.tar"
    outside.command("pack", manifest, "-o", str(bundle), "--offline", *places, *mirrors).expect(0)

    package = Path(outside.environment["PYTHONPATH"]) / "nearest_mean"
    (package / "unused.py").write_text("nothing = 2\n")
    outside.command("run", manifest, *options).expect(0, "REPRODUCED")
    means = package / "means.py"
    means.write_text(means.read_text().replace("** power", "**  power"))
    (warning,) = checked(outside, 0)["warnings"]
    assert warning["toml_path"] == "task.code_sha256"
    drifted = outside.command("run", manifest, *options).expect(1, "ENVIRONMENT DRIFT")
    assert set(drifted.differing) == {"task code"}
    assert drifted.checks["task code"]["expected"] == pin
    assert drifted.report["failure"]["where"] == "task.code_sha256"

    opened = outside.command("run", str(bundle), *options).expect(0, "REPRODUCED")
    assert "the pinned code is used instead" in opened.checks["task code"]["detail"], "the bundle has it"
