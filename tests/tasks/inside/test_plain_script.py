"""The shipped example of a user's own script: it keeps to the line format and repeats to the bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from repro_tui import wire

SCRIPT = Path(__file__).parents[3] / "manifests" / "plain_pytorch" / "train.py"


def documents(count: int) -> str:
    words = {"earn": "profit rose again", "trade": "tariffs were raised"}
    lines = [f"{label}\t{words[label]} number {n}" for n in range(count) for label in words]
    return "\n".join(["Category\tText", "d\tstring", "class\t", *lines]) + "\n"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="the manifests folder is not beside the tests")
def test_it_learns_reports_in_the_line_format_and_repeats_to_the_bit(tmp_path: Path) -> None:
    (tmp_path / "train.tab").write_text(documents(40))
    (tmp_path / "test.tab").write_text(documents(10))
    files = []
    for name in ("first", "second"):
        out = tmp_path / name
        out.mkdir()
        options = {
            "train": tmp_path / "train.tab", "test": tmp_path / "test.tab", "learning-rate": 0.05, "epochs": 3,
            "batch-size": 8, "dimension": 8, "min-count": 2, "seed": 1,
        }  # fmt: skip
        subprocess.run(
            [sys.executable, str(SCRIPT), *(f"--{key}={value}" for key, value in options.items())],
            env={**os.environ, "REPRO_OUT": str(out), "REPRO_METRICS": str(out / "metrics.jsonl")},
            check=True,
        )
        files.append([(out / file).read_bytes() for file in ("weights.pt", "predictions.tsv")])
    assert files[0] == files[1]

    events = [wire.decode(line) for line in (tmp_path / "first" / "metrics.jsonl").read_text().splitlines()]
    assert [event["value"] for event in events if event["event"] == "metric"] == [1.0]
    steps = [event for event in events if event["event"] == "step"]
    assert [event["step"] for event in steps] == list(range(1, 31))
    assert steps[-1]["loss"] < steps[0]["loss"]
