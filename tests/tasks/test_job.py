"""The job file as a task reads it, and what a user sees when it is wrong."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from repro_tui.tasks.common.job import Job, TaskError, load, run

JOB: dict[str, Any] = {
    "schema": 1, "task": "text_classification", "model": "/inputs/model", "seed": 7, "data_seed": None,
    "level": "bitwise", "threads": 2, "cpu_capability": "avx2", "hyperparameters": {"learning_rate": 0.1, "epochs": 2},
    "splits": {}, "out": "/out",
}  # fmt: skip


@dataclass
class Wanted:
    learning_rate: float
    epochs: int


@pytest.fixture
def job_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(JOB))
    monkeypatch.setenv("REPRO_JOB", str(path))
    monkeypatch.setenv("REPRO_METRICS", str(tmp_path / "metrics.jsonl"))
    return path


def test_a_job_is_read_and_the_data_seed_falls_back_to_the_seed(job_file: Path) -> None:
    job = load(job_file)
    assert (job.seed, job.data_seed, job.model) == (7, 7, Path("/inputs/model"))
    assert job.settings(Wanted) == Wanted(0.1, 2)


def test_a_missing_hyperparameter_is_named(job_file: Path) -> None:
    job_file.write_text(json.dumps(JOB | {"hyperparameters": {"epochs": 2}}))
    with pytest.raises(TaskError, match="lack learning_rate"):
        load(job_file).settings(Wanted)


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "is not a job"), ("[]", "is not a job"), ('{"seed": 1}', "lacks the key 'data_seed'|lacks the key 'model'")],
)
def test_what_is_no_job_is_said_to_be_none(job_file: Path, content: str, words: str) -> None:
    job_file.write_text(content)
    with pytest.raises(TaskError, match=words):
        load(job_file)


def test_a_task_error_is_one_line_a_note_and_exit_code_1(
    job_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def task(_: Job) -> None:
        raise TaskError("splits.test has 3 examples, 4 are pinned", "Another file than the one recorded")

    assert run(task) == 1
    assert capsys.readouterr().err == (
        "error: splits.test has 3 examples, 4 are pinned. Another file than the one recorded\n"
    )
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["event"] == "note"


def test_what_is_not_a_task_error_is_not_swallowed(job_file: Path) -> None:
    def task(_: Job) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(task)


@pytest.mark.parametrize("name", ["REPRO_JOB", "REPRO_METRICS"])
def test_a_missing_variable_is_named(
    job_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.delenv(name)
    assert run(lambda _: None) == 1
    assert name in capsys.readouterr().err
