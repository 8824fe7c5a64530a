"""Outputs of other manifests' runs as artifacts: which run is taken, what is passed over, what is said of none."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from repro_tui import wire
from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.store import Store
from repro_tui.errors import ArtifactUnavailableError
from repro_tui.events import RunStarted
from repro_tui.manifest.sources import RunSource
from repro_tui.runs.directory import RunDirectory
from tests.artifacts.artifact_lab import file_artifact, sha256

WEIGHTS = b"trained" * 100
SOURCE: dict[str, Any] = {"type": "run", "experiment": "teacher", "output": "weights"}


def leave(runs: Path, experiment: str, content: bytes, *, stage: str = "", seed: str = "", claim: str = "") -> Path:
    """Make a run directory whose task told of an output."""
    run = RunDirectory.create(runs, experiment)
    told = ("artifacts", "seeds", "report") if seed else ("artifacts", "report")
    started = RunStarted(
        at=time.time(), run_id=run.id, experiment=experiment, title="", manifest="", version="", pid=1, stages=told
    )
    run.events.write_text(started.to_line())
    if seed:
        run = run.create_child(seed)
    file = run.out / stage / "model.safetensors"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    lines = wire.encode("stage", stage=stage) if stage else ""
    lines += wire.encode("output", name="weights", path="model.safetensors", sha256=claim or sha256(content))
    run.metrics.write_text(lines)
    return file


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "there"


@pytest.fixture
def fetcher(store: Store, tmp_path: Path, runs: Path) -> Fetcher:
    return Fetcher(store, [], base=tmp_path, runs=runs, offline=True)


def test_the_output_with_the_pinned_bytes_is_found_whichever_run_left_it(fetcher: Fetcher, runs: Path) -> None:
    leave(runs, "teacher", WEIGHTS, claim="0" * 64)  # what a run claims counts for nothing
    leave(runs, "teacher", WEIGHTS[::-1], claim=sha256(WEIGHTS))
    leave(runs, "another", WEIGHTS)
    assert fetcher.artifact(file_artifact(WEIGHTS, SOURCE)).read_bytes() == WEIGHTS


@pytest.mark.parametrize(("left", "asked"), [({"stage": "pretrain"}, {"stage": "pretrain"}), ({"seed": "7"}, {})])
def test_a_stage_and_a_seed_of_a_series_leave_outputs_too(
    fetcher: Fetcher, runs: Path, left: dict[str, str], asked: dict[str, str]
) -> None:
    leave(runs, "teacher", WEIGHTS, **left)
    assert fetcher.artifact(file_artifact(WEIGHTS, {**SOURCE, **asked})).read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("content", "said"), [(None, "there is no run of it"), (WEIGHTS[::-1], "none of 1 runs"), (b"", "none of 1 runs")]
)
def test_where_no_run_left_it_the_manifest_to_run_first_is_named(
    fetcher: Fetcher, runs: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        leave(runs, "teacher", content)
    with pytest.raises(ArtifactUnavailableError) as raised:
        fetcher.artifact(file_artifact(WEIGHTS, SOURCE))
    assert any(line.startswith(f"run of teacher, weights: {said}") for line in raised.value.tried)
    assert "the manifest teacher makes it: run that one first" in raised.value.hint


def test_an_output_outside_the_folder_of_outputs_is_no_output(fetcher: Fetcher, runs: Path, tmp_path: Path) -> None:
    file = leave(runs, "teacher", WEIGHTS)
    elsewhere = tmp_path / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    with pytest.raises(ArtifactUnavailableError):
        fetcher.artifact(file_artifact(WEIGHTS, SOURCE))


def test_a_source_without_a_pin_is_measured_by_the_newest_run(fetcher: Fetcher, runs: Path) -> None:
    leave(runs, "teacher", WEIGHTS)
    measured = fetcher.measure("weights", [RunSource.model_validate(SOURCE)])
    assert (measured.sha256, measured.bytes, measured.is_folder) == (sha256(WEIGHTS), len(WEIGHTS), False)
    with pytest.raises(ArtifactUnavailableError, match="cannot be pinned"):
        fetcher.measure("weights", [RunSource.model_validate({**SOURCE, "output": "logits"})])
