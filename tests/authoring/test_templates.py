"""Templates, the files for CI, and what is written where."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from repro_tui.authoring.ci import write_ci
from repro_tui.authoring.files import refuse_overwriting, way
from repro_tui.authoring.inspection.people import About
from repro_tui.authoring.templates import Template, find_template, templates
from repro_tui.errors import UsageError
from repro_tui.manifest.loading import inspect
from repro_tui.manifest.tasks import builtin_names
from repro_tui.manifest.trees import chosen_files, tree_digest, tree_files
from tests.authoring.project_lab import make

ANSWERS = {"experiment.title": 'A "title"', "experiment.authors": "A. Author, B. Author"}
FILES = {
    "requirements.txt": "torch==2.13.0\n", "train.py": "x\n", "data.csv": "x\n", "my train.tsv": "x\n", "test.tsv": "x\n",
    "checkpoint/config.json": "{}\n", "texts/a.txt": "x\n", "train/shirt/1.png": "x\n", "test/shirt/1.png": "x\n",
    "pictures/train/1.png": "x\n",
}  # fmt: skip


def test_every_built_in_task_has_a_template() -> None:
    assert {name.replace("_", "-") for name in builtin_names()} | {"own-script"} == {
        template.name for template in templates()
    }


@pytest.mark.parametrize("template", templates(), ids=lambda template: template.name)
def test_a_template_is_marked_until_its_questions_are_answered(template: Template, tmp_path: Path) -> None:
    assert template.description.endswith(".")
    path = tmp_path / "t.toml"
    path.write_text(template.filled({}))
    needed = [question for question in template.questions if not question.default]
    marked = [problem for problem in inspect(path).problems if "still marked" in problem.found]
    assert [problem.line for problem in marked] == [question.line for question in needed]
    assert "#?" not in template.filled({})


def pinned(text: str, folder: Path) -> str:
    """Pin what is loose as simply as can be: a digest behind each artifact's path, a lock that is there."""
    import tomllib

    data: dict[str, Any] = tomllib.loads(text)
    for artifact in data["artifacts"]:
        source = artifact["sources"][0]
        found = folder / source["path"]
        files = (
            chosen_files(found, source["files"]) if "files" in source else tree_files(found) if found.is_dir() else None
        )
        size = sum(file.stat().st_size for file in (files or {"": found}).values())
        pin = "tree_sha256" if files else "sha256"
        digest = tree_digest(files) if files else hashlib.sha256(found.read_bytes()).hexdigest()
        kind = f'kind = "{artifact["kind"]}"\npath = "{artifact["path"]}"'
        assert kind in text
        text = text.replace(kind, f'{kind}\n{pin} = "{digest}"\nbytes = {size}')
    requirements = data["environment"]["requirements"]
    digest = hashlib.sha256((folder / requirements).read_bytes()).hexdigest()
    return text.replace(f'requirements = "{requirements}"', f'lock = "{requirements}"\nlock_sha256 = "{digest}"')


@pytest.mark.parametrize("template", templates(), ids=lambda template: template.name)
def test_a_filled_template_is_a_good_manifest_once_it_is_pinned(template: Template, tmp_path: Path) -> None:
    make(tmp_path, FILES)
    places = {"file of the training": "my train.tsv", "file of the test": "test.tsv", "folder of the ch": "checkpoint"}
    answers = {**ANSWERS, "determinism.seed": "7"}
    for question in template.questions:
        for words, place in places.items():
            if question.text.startswith(words):
                answers[question.key] = place
        if not question.default and question.key not in answers:
            answers[question.key] = ", ".join(question.value) if isinstance(question.value, list) else question.value
    path = tmp_path / "t.toml"
    path.write_text(pinned(template.filled(answers), tmp_path))
    inspection = inspect(path)
    assert inspection.problems == ()
    assert inspection.loaded is not None
    assert inspection.loaded.manifest.determinism.seed == 7
    assert inspection.loaded.manifest.experiment.authors == ["A. Author", "B. Author"]


def test_answers_are_checked() -> None:
    template = find_template("text_classification")
    assert template.answers(["determinism.seed=1", "experiment.title=a=b"]) == {
        "determinism.seed": "1",
        "experiment.title": "a=b",
    }
    for wrong in ("determinism.sed=1", "nothing"):
        with pytest.raises(UsageError):
            template.answers([wrong])
    with pytest.raises(UsageError, match="no answer"):
        template.filled({"determinism.seed": "many"})
    with pytest.raises(UsageError) as caught:
        find_template("text-clasification")
    assert "text-classification" in caught.value.hint


def test_a_projects_own_words_are_known() -> None:
    known = find_template("own-script").known(About("mine", authors=("A", "B")))
    assert known == {"experiment.name": "mine", "experiment.authors": "A, B"}


def test_the_workflow_runs_the_manifest_and_keeps_what_came_out(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML reads the workflow")
    folder = make(tmp_path, {".git/HEAD": "", "papers/my exp.toml": "schema = 1\n"})
    paths = write_ci(folder / "papers/my exp.toml", force=False)
    assert [path.relative_to(folder.resolve()).as_posix() for path in paths] == [
        ".github/workflows/repro-tui.yml",
        ".github/repro-tui.svg",
    ]
    workflow = yaml.safe_load(paths[0].read_text())
    assert set(workflow) == {"name", True, "permissions", "concurrency", "jobs"}  # YAML 1.1 reads `on` as true
    assert set(workflow[True]) == {"push", "pull_request", "workflow_dispatch"}
    job = workflow["jobs"]["reproduce"]
    assert set(job) == {"runs-on", "timeout-minutes", "env", "steps"}
    assert 1 <= job["timeout-minutes"] <= 360
    assert job["env"]["MANIFEST"] == "papers/my exp.toml"
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert set(step) <= {"name", "id", "if", "uses", "with", "run"}
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert any("--json > reproduction/report.json" in run and 'exit "$code"' in run for run in runs)
    assert any("badge" in run for run in runs)
    assert job["steps"][-1]["uses"].startswith("actions/upload-artifact@")
    assert "not run yet" in paths[1].read_text()
    with pytest.raises(UsageError, match="are there already"):
        write_ci(folder / "papers/my exp.toml", force=False)
    assert write_ci(folder / "papers/my exp.toml", force=True) == paths


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    there = make(tmp_path, {"a.toml": "x"}) / "a.toml"
    refuse_overwriting([tmp_path / "b.toml"], force=False)
    refuse_overwriting([there], force=True)
    with pytest.raises(UsageError, match="is there already"):
        refuse_overwriting([there], force=False)
    (tmp_path / "gone.toml").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError):
        refuse_overwriting([tmp_path / "gone.toml"], force=False)


def test_paths_start_from_the_manifest(tmp_path: Path) -> None:
    assert way(tmp_path, tmp_path) == ""
    assert way(tmp_path / "manifests", tmp_path / "code") == "../code/"
