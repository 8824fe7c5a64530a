from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro_tui import wire
from repro_tui.errors import InfrastructureError, RunFailedError, StoreFullError
from repro_tui.events import (
    CheckResult,
    CheckStatus,
    EngineChosen,
    RunStarted,
    StageFinished,
    StageStarted,
    StageStatus,
)
from repro_tui.images.model import Image, Layer
from repro_tui.manifest.models import Claim, Experiment, Paper
from repro_tui.report import json as report_json
from repro_tui.report import markdown
from repro_tui.report.build import build_report
from repro_tui.report.model import Report, report_schema
from repro_tui.report.write import write_report
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.state import MetricKey, MetricValue, RunState
from repro_tui.verify.metrics import claim_results
from repro_tui.verify.verdict import decide

DIGEST = "sha256:" + "a" * 64
EXPERIMENT = Experiment(
    name="r8",
    title="R8 | with `MiniLM`",
    authors=["Ada"],
    licence="CC0-1.0",
    paper=Paper(title="A paper", arxiv="2002.10957"),
)
IMAGE = Image(
    name="torch-cpu",
    platform="linux/amd64",
    manifest_digest=DIGEST,
    config_digest=DIGEST,
    layers=(Layer(DIGEST, 1, "base"),),
    layout=Path("/layout"),
    root=Path("/root"),
    inventory=Path("/inventory"),
)
CHECKS = [
    CheckResult(at=3.0, name="environment hash", component="environment", status=CheckStatus.MATCH, expected=DIGEST, observed=DIGEST),
    CheckResult(at=3.0, name="metric test/accuracy", component="metrics", status=CheckStatus.WITHIN_TOLERANCE, expected="0.96",
                observed="0.965", tolerance="± 0.01"),
    CheckResult(at=3.0, name="digest weights", component="digests", status=CheckStatus.NOT_RUN, required=False, detail="other | CPU"),
]  # fmt: skip


def make_state(*extra: str) -> RunState:
    state = RunState()
    state.apply(
        RunStarted(
            at=1e9,
            run_id="r8-1",
            experiment="r8",
            title="R8",
            manifest="m",
            stages=("resolve", "train"),
            version="0.1.0",
            pid=1,
        )
    )
    state.apply(
        EngineChosen(at=1e9, engine="embedded", host="local", reason="no Docker", capabilities={"memory": "enforced"})
    )
    state.apply(StageStarted(at=1e9, stage="resolve"))
    state.apply(StageFinished(at=1e9, stage="resolve", status=StageStatus.PASSED, elapsed_s=0.5))
    for check in CHECKS:
        state.apply(check)
    for line in (
        wire.encode("metric", name="accuracy", value=0.965, split="test"),
        wire.encode("metric", name="loss", value=math.nan, split="test", step=3),
        wire.encode("metric", name="f1", value=0.8, split="test", **{"class": "acq"}),
        wire.encode("metric", name="f1", value=0.7, split="test", **{"class": "earn"}),
        wire.encode("metric", name="recall", value=math.inf, split="test", **{"class": "earn"}),
        wire.encode(
            "table", name="confusion_matrix", columns=["", "acq"], rows=[["acq", 1, 0.5, math.nan, None, [math.inf]]]
        ),
        wire.encode("output", name="weights", path="weights.bin"),
        wire.encode("output", name="away", path="../secret"),
        *extra,
    ):
        state.apply_line(line)
    return state


def make_report(out: Path, state: RunState | None = None, **changes: Any) -> Report:
    (out / "weights.bin").write_bytes(b"weights")
    state = state or make_state()
    claims = claim_results(
        [
            Claim(metric="accuracy", value=0.97, within=0.01, source="Table 2 | row 3", verified=True),
            Claim(metric="em", value=0.5, within=0.1, source="Table 9"),
        ],
        state.metrics,
    )
    options: dict[str, Any] = {
        "experiment": EXPERIMENT,
        "image": IMAGE,
        "environment_hash": DIGEST,
        "host": {"cores": 2, "gpus": []},
    } | changes
    return build_report(
        state,
        decide(CHECKS, options.get("failure")),
        manifest=Path("manifests/it's r8.toml"),
        manifest_sha256="b" * 64,
        out=out,
        finished_at=1e9 + 60,
        claims=claims,
        **options,
    )


def body(report: Report) -> dict[str, Any]:
    """Return what a program reads; JSON's extensions for NaN are refused."""

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    value: dict[str, Any] = json.loads(report_json.render(report), parse_constant=refuse)
    return value


def test_the_report_has_these_keys(tmp_path: Path) -> None:
    value = body(make_report(tmp_path))
    assert list(value) == [
        "schema", "verdict", "exit_code", "summary", "experiment", "manifest", "run", "engine", "image", "environment_hash",
        "checks", "claims", "metrics", "tables", "outputs", "timings_s", "host", "failure", "series",
        "bundle", "stages",
    ]  # fmt: skip
    assert (value["schema"], value["verdict"], value["exit_code"]) == (1, "REPRODUCED", 0)
    assert value["engine"] == {
        "name": "embedded",
        "host": "local",
        "reason": "no Docker",
        "capabilities": {"memory": "enforced"},
    }
    assert value["image"] == {
        "manifest_digest": DIGEST, "config_digest": DIGEST, "diff_ids": [DIGEST], "origin": "assembled", "reference": "",
        "index_digest": "",
    }  # fmt: skip
    assert set(value["checks"][0]) == {
        "name",
        "component",
        "status",
        "expected",
        "observed",
        "tolerance",
        "detail",
        "required",
    }
    assert [check["status"] for check in value["checks"]] == ["match", "within tolerance", "not run"]
    assert value["claims"][0] | {"source": ""} == {
        "metric": "accuracy", "split": "test", "stage": "", "claimed": 0.97, "within": 0.01, "observed": 0.965,
        "status": "within tolerance", "source": "", "verified": True, "note": "",
    }  # fmt: skip
    assert (value["claims"][1]["observed"], value["claims"][1]["status"]) == (None, "unverifiable")
    assert {"name": "loss", "split": "test", "stage": "", "value": "nan", "class": None, "step": 3} in value["metrics"]
    assert {"name": "recall", "split": "test", "stage": "", "value": "inf", "class": "earn", "step": None} in value[
        "metrics"
    ]
    assert value["tables"][0]["rows"] == [["acq", 1, 0.5, "nan", None, ["inf"]]]
    assert value["outputs"] == [
        {"name": "weights", "path": "weights.bin", "sha256": hashlib.sha256(b"weights").hexdigest(), "bytes": 7},
        {"name": "away", "path": "../secret", "sha256": None, "bytes": None},
    ]
    assert value["timings_s"] == {"resolve": 0.5}
    assert value["run"] == {
        "id": "r8-1",
        "started": "2001-09-09T01:46:40Z",
        "finished": "2001-09-09T01:47:40Z",
        "version": "0.1.0",
    }
    assert value["experiment"]["paper"] == {"title": "A paper", "arxiv": "2002.10957"}
    assert value["failure"] is None


def test_a_failure_says_where_and_what_to_do(tmp_path: Path) -> None:
    state = make_state()
    state.apply(StageStarted(at=1e9, stage="train"))
    failure = RunFailedError("the training ended with exit code 1", where="logs/train.log", hint="read the log")
    running = body(make_report(tmp_path, state, failure=failure))["failure"]
    state.apply(StageFinished(at=1e9, stage="train", status=StageStatus.FAILED, elapsed_s=2.0))
    value = body(make_report(tmp_path, state, failure=failure))
    assert value["failure"] == running == {
        "message": "the training ended with exit code 1", "where": "logs/train.log", "hint": "read the log", "stage": "train",
    }  # fmt: skip
    assert (value["verdict"], value["exit_code"]) == ("FAILED", 4)


def test_a_run_that_failed_at_once_has_a_report_too(tmp_path: Path) -> None:
    state = RunState()
    report = make_report(
        tmp_path, state, experiment=None, image=None, environment_hash=None, host=None, failure=RunFailedError("x")
    )
    value = body(report)
    assert value["engine"] is value["image"] is value["environment_hash"] is value["run"]["started"] is None
    jsonschema.validate(value, report_schema())
    assert markdown.render(report).startswith("# FAILED")


def test_the_shipped_schema_is_the_model_s_and_the_report_fits_it(tmp_path: Path) -> None:
    shipped = json.loads((Path(markdown.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))
    assert shipped == report_schema()
    jsonschema.Draft202012Validator.check_schema(shipped)
    value = body(make_report(tmp_path))
    jsonschema.validate(value, shipped)
    for spoilt in ({"verdict": "FINE"}, {"schema": 2}, {"metrics": [{"name": "a", "split": "b", "value": "NaN"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value | spoilt, shipped)


def test_the_documented_keys_are_the_report_s() -> None:
    text = (Path(__file__).parents[2] / "docs/report.md").read_text(encoding="utf-8")
    schema = report_schema()
    for part in (schema, *schema["$defs"].values()):
        for key in part.get("properties", ()):
            assert f"`{key}`" in text, key


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "r8")
    report = make_report(run.out)
    umask = os.umask(0o077)
    try:
        write_report(run, report)
    finally:
        os.umask(umask)
    assert report_json.read(run.report) == report
    assert run.report_markdown.read_text(encoding="utf-8") == markdown.render(report)
    assert stat.S_IMODE(run.report.stat().st_mode) == 0o644
    assert not [path for path in run.path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"schema": 2}'])
def test_what_is_no_report_is_an_error_with_its_place(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InfrastructureError) as caught:
        report_json.read(path)
    assert caught.value.where == str(path)


def test_a_pipe_in_place_of_a_report_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "report.json")
    with pytest.raises(InfrastructureError, match="not a plain file"):
        report_json.read(tmp_path / "report.json")


def test_a_full_disk_leaves_the_old_report_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    report_json.write_whole(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFullError):
        report_json.write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def tables(text: str) -> list[list[str]]:
    """Return the rows of Markdown tables as lists of cells."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.replace("\\|", "\0").strip("|").split("|")] for row in rows]


def test_markdown_has_what_a_reader_looks_for(tmp_path: Path) -> None:
    text = markdown.render(make_report(tmp_path))
    assert text.startswith("# REPRODUCED: R8 \\| with \\`MiniLM\\`\n")
    for heading in ("## Checks", "## Claims", "## Metrics", "### By class, test split", "### Confusion matrix", "## What ran",
                    "## Where it ran", "## How to run it again"):  # fmt: skip
        assert f"\n{heading}\n" in text
    rows = tables(text)
    assert ["environment hash", "match", f"`{DIGEST}`", "same", ""] in rows
    assert ["digest weights (informs only)", "not run", "", "", ""] in rows
    assert ["test/accuracy", "0.97", "0.965", "0.01", "within tolerance", "Table 2 \0 row 3"] in rows
    assert ["test/em", "0.5", "not measured", "0.1", "**unverifiable**", "Table 9 (not verified)"] in rows
    assert ["Class", "f1", "recall"] in rows
    assert ["acq", "0.8", "not measured"] in rows
    assert ["earn", "0.7", "inf"] in rows
    assert "repro-tui --run 'manifests/it'\"'\"'s r8.toml'" in text


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_breaks_the_tables(name: str, detail: str) -> None:
    state = RunState()
    state.checks["x"] = CheckResult(
        at=1.0, name=name, component="image", status=CheckStatus.DIFFERS, detail=detail, expected=detail, observed=name
    )
    state.metrics[MetricKey(name or "m", detail or "s")] = MetricValue(1.0)
    report = build_report(
        state,
        decide(list(state.checks.values())),
        manifest=Path("m"),
        manifest_sha256="",
        out=Path("/nowhere"),
        finished_at=1.0,
    )
    text = markdown.render(report)
    widths = {len(row) for row in tables(text.split("## What ran")[0].split("## Metrics")[0])}
    assert widths == {5}
    assert Report.model_validate_json(report_json.render(report)) == report
