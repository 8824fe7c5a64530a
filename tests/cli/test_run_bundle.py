"""Runs from a bundle, through the real command line and real workers: pinned code, series, detached, what is told."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.store import Store
from repro_tui.bundles import packing
from repro_tui.bundles.contents import Wish
from repro_tui.bundles.opening import open_bundle
from repro_tui.bundles.packing import Packed, pack
from repro_tui.cli.main import main
from repro_tui.errors import BundleError, DriftError, UsageError
from repro_tui.manifest.code import builtin_code_digest, builtin_code_files
from repro_tui.manifest.loading import load
from repro_tui.manifest.trees import tree_digest, tree_files
from repro_tui.pipeline.launch import resume
from repro_tui.pipeline.plan import Options
from repro_tui.report import json as report_json
from repro_tui.runs.catalog import find_run
from repro_tui.runs.directory import RunDirectory
from tests.bundles.experiment import Forgery
from tests.cli.project import TRAIN, Finished, Project, eventually

TASK = "text_classification"


def packed(project: Project, run: Path | None, *mirrors: Path) -> Packed:
    """Pack a project; the engine without containers needs nothing of an image."""
    store = Store(project.folder / "author")
    loaded = load(project.manifest)
    fetcher = Fetcher(store, mirrors, base=project.folder, offline=True)
    with mock.patch.object(packing, "add_image", return_value="parts"):
        return pack(
            loaded, project.folder / "tiny.repro.tar", store=store, fetcher=fetcher,
            run=None if run is None else RunDirectory(run), wish=Wish(), offline=True,
        )  # fmt: skip


def run_bundle(project: Project, bundle: Path, *words: str) -> Finished:
    return project.command("run", str(bundle), "--engine", "fake", "--runs", str(project.runs), *words)


# --- the code of a built-in task --------------------------------------------------------------------------------------


@pytest.fixture
def other_code(tmp_path: Path) -> Path:
    """Return a mirror with the code of another version, by its tree digest."""
    folder = tmp_path / "other"
    for relative, file in builtin_code_files(TASK).items():
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / relative)
    script = TRAIN.replace("rate = float(sys.argv[1])", "rate = 0.1").replace("sys.argv[2]", "7")
    (folder / f"repro_tui/tasks/{TASK}.py").write_text(f'print("of another version")\n{script}')
    mirror = tmp_path / "mirror"
    (mirror / "trees").mkdir(parents=True)
    folder.rename(mirror / "trees" / tree_digest(tree_files(folder)))
    return mirror


def of_the_task(project: Project, pinned: str) -> None:
    """Make the experiment one of a built-in task, whose code is pinned."""
    project.change('[task]\ncommand = ["python3", "train.py", "{rate}", "{seed}"]\ncode = "code"\n', f"""\
[[artifacts]]
name = "encoder"
kind = "weights"
path = "encoder/model.safetensors"
sha256 = "{hashlib.sha256(b"1 2 3").hexdigest()}"
bytes = 5
sources = [{{ type = "local", path = "model.safetensors" }}]

[task]
name = "{TASK}"
model = "encoder"
code_sha256 = "{pinned}"

[splits]
train = {{ artifact = "numbers" }}
test = {{ artifact = "numbers" }}
""")  # fmt: skip
    project.change("[hyperparameters]\nrate = 0.1\n", "")
    (project.folder / "model.safetensors").write_bytes(b"1 2 3")


def test_another_version_runs_the_pinned_code_of_the_bundle(project: Project, other_code: Path) -> None:
    (pinned,) = (path.name for path in (other_code / "trees").iterdir())
    of_the_task(project, pinned)
    refused = project.run()
    assert (refused.code, refused.report["verdict"]) == (1, "ENVIRONMENT DRIFT"), "not without the bundle"
    with pytest.raises(DriftError, match="the pin says"):
        packed(project, None)
    bundle = packed(project, None, other_code)
    assert {each.path.rpartition("/")[2] for each in bundle.index.with_role("code")} >= {"wire.py", f"{TASK}.py"}
    done = run_bundle(project, bundle.path, "--json")
    assert (done.code, done.report["verdict"]) == (0, "REPRODUCED"), done.err
    (check,) = (each for each in done.report["checks"] if each["name"] == "task code")
    assert (check["status"], check["observed"]) == ("match", pinned)
    assert "the pinned code is used instead" in check["detail"]
    run = project.runs / done.report["run"]["id"]
    assert "the pinned code is used instead" in (run / "report.md").read_text()
    assert builtin_code_digest(TASK) in (run / "logs/resolve.log").read_text()
    assert "of another version" in (run / "logs/train.log").read_text()
    assert tree_digest(tree_files(run / "code")) == pinned, "one tree, nothing of the installed one"
    assert json.loads((run / "record.json").read_text())["job"]["task"]["code_sha256"] == pinned


def test_the_code_that_is_installed_is_packed_and_checked_too(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    pinned = builtin_code_digest(TASK)
    of_the_task(project, pinned)
    bundle = packed(project, None)
    opened = open_bundle(bundle.path, Store(project.folder / "reader"))
    assert tree_digest(tree_files(opened.folder / "trees" / pinned)) == pinned
    for place, source in builtin_code_files(TASK).items():
        changed = project.folder / place
        changed.parent.mkdir(parents=True, exist_ok=True)
        changed.write_text(source.read_text() + "# another line\n")
    with mock.patch("repro_tui.manifest.tasks.PACKAGE", project.folder / "repro_tui"):
        assert builtin_code_digest(TASK) != pinned
        assert main(["check", str(bundle.path), "--store", str(project.folder / "reader")]) == 0
    told = capsys.readouterr()
    assert pinned in told.out
    assert "drifted" not in told.err


def test_code_that_is_not_the_tree_that_it_is_named_by(project: Project) -> None:
    of_the_task(project, builtin_code_digest(TASK))
    forged = Forgery.of(packed(project, None).path)
    path = f"trees/{builtin_code_digest(TASK)}/repro_tui/tasks/{TASK}.py"
    forged.change(path, forged.members[path] + b"import os\n")
    with pytest.raises(BundleError, match="have the tree digest"):
        open_bundle(forged.write(project.folder / "x.repro.tar"), Store(project.folder / "reader"))


# --- a series ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    """Return a project, and the bundle of a series of it; no test changes them."""
    made = Project(tmp_path_factory.mktemp("series"))
    made.write()
    done = made.run("--seeds", "7,8", "--jobs", "2")
    assert done.code == 0, done.err
    return made, packed(made, made.only_run()).path


def test_each_seed_of_a_series_is_in_the_bundle(
    series: tuple[Project, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, bundle = series
    index = open_bundle(bundle, Store(tmp_path / "store")).index
    for name in ("report.json", "events.jsonl", "record.json", "out/metrics.jsonl", "environment.json"):
        assert index.member(f"run/seeds/8/{name}") is not None, name
    assert main(["unpack", str(bundle), str(tmp_path / "out")]) == 0
    seed = find_run(tmp_path, str(tmp_path / "out/run/seeds/8"))
    assert report_json.read(seed.report).run.id.endswith("-seed8")
    assert main(["show", str(seed.path)]) == 0
    assert main(["diff", str(tmp_path / "out/run/seeds/7"), str(seed.path), "--store", str(tmp_path / "store")]) == 1
    assert "seed" in capsys.readouterr().out


def test_forms_of_the_recorded_run_without_opening_the_bundle(
    series: tuple[Project, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, bundle = series
    monkeypatch.setenv("REPRO_TUI_STORE", str(tmp_path / "store"))
    assert main(["export", "junit", str(bundle)]) == 0
    assert "<testsuite" in capsys.readouterr().out
    assert main(["export", "markdown", str(bundle)]) == 0
    assert "Over the seeds" in capsys.readouterr().out
    assert main(["export", "ro-crate", str(bundle), "-o", str(tmp_path / "crate")]) == 0
    assert (tmp_path / "crate/ro-crate-metadata.json").is_file()
    assert not (tmp_path / "store").exists()


def change(forged: Forgery, path: str, key: str, value: Any) -> None:
    body = json.loads(forged.members[path])
    assert key in body
    forged.change(path, json.dumps({**body, key: value}).encode())


@pytest.mark.parametrize("how", ["verdict", "value", "unknown", "seed"])
def test_seeds_that_do_not_say_what_their_series_says(series: tuple[Project, Path], tmp_path: Path, how: str) -> None:
    _, bundle = series
    forged = Forgery.of(bundle)
    whole = json.loads(forged.members["run/report.json"])
    if how == "verdict":
        change(forged, "run/seeds/8/report.json", "summary", "all is well")
    elif how == "value":
        whole["series"]["metrics"][0]["values"][1] = 0.7
        forged.change("run/report.json", json.dumps(whole).encode())
    elif how == "unknown":
        forged.add("run/seeds/9/report.json", forged.members["run/seeds/8/report.json"], "report")
    else:
        forged.change("run/seeds/8/events.jsonl", forged.members["run/seeds/7/events.jsonl"])
    with pytest.raises(BundleError, match="is refused: run/"):
        open_bundle(forged.write(tmp_path / "x.repro.tar"), Store(tmp_path / "store"))


# --- what a run from a bundle says, and what it holds on to -----------------------------------------------------------


def test_a_bundle_without_a_run_is_exported_as_its_manifest(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = packed(project, None).path
    assert main(["export", "citation", str(bundle)]) == 0
    assert "A tiny experiment" in capsys.readouterr().out
    assert main(["export", "junit", str(bundle)]) == 2


def test_the_report_names_the_bundle_and_prune_leaves_it_to_a_detached_run(project: Project) -> None:
    bundle = packed(project, None)
    (project.folder / "reader").mkdir()
    given = bundle.path.rename(project.folder / "reader/from an author.repro.tar")
    project.wish["slow"] = {"resolve": 2}
    done = run_bundle(project, given, "--detach")
    assert done.code == 0, done.err
    pruned = project.command("prune", "--all", "--store", str(project.folder / "store"))
    assert pruned.code == 0, pruned.err
    run = project.runs / done.out.strip()
    eventually((run / "report.json").is_file)
    report = json.loads((run / "report.json").read_text())
    assert report["verdict"] == "REPRODUCED", report["summary"]
    assert report["bundle"] == {"name": given.name, "sha256": bundle.sha256}
    assert report["manifest"]["path"] == "experiment/tiny.toml"
    text = (run / "report.md").read_text()
    assert f"repro-tui --run '{given.name}'" in text
    assert str(project.folder / "store") not in text


def test_a_series_whose_bundle_was_pruned_says_how_to_go_on(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "runs", "tiny")
    gone = str(tmp_path / "store/derived/bundles" / ("0" * 64) / "experiment/tiny.toml")
    Options(manifest=gone, experiment="tiny", title="", seeds=(1, 2), bundle="tiny.repro.tar").write(run.options)
    run.manifest.write_text("schema = 1\n")
    run.worker_lock.write_text("1\n")
    with pytest.raises(UsageError) as caught:
        resume(run)
    assert "repro-tui check tiny.repro.tar" in caught.value.hint
