"""Runs a task about pictures on a few of them, in this process."""

import dataclasses
import json
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from repro_tui.tasks.common import job as task


class Run:
    """One finished run: its output folder, exit code and events."""

    def __init__(self, out: Path, code: int, events: list[dict[str, Any]]) -> None:
        self.out, self.code, self.events = out, code, events

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]

    def metrics(self, split: str = "test") -> dict[str, float]:
        return {
            event["name"]: event["value"]
            for event in self.of("metric")
            if event["split"] == split and "step" not in event and "class" not in event
        }

    def digests(self) -> dict[str, str]:
        return {event["name"]: event["sha256"] for event in self.of("output")}


def write_pictures(folder: Path, name: str, count: int, side: int = 16) -> dict[str, Any]:
    """Write grey pictures as IDX files: class 0 bright on the left, 1 on the right, and noise; return their split."""
    pixels = np.random.default_rng(count).integers(0, 60, (count, side, side), dtype=np.uint8)
    numbers = np.arange(count, dtype=np.uint8) % 2
    pixels[numbers == 0, :, : side // 2] += 150
    pixels[numbers == 1, :, side // 2 :] += 150
    (folder / name).write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, count, side, side) + pixels.tobytes())
    (folder / f"{name}-classes").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, count) + numbers.tobytes())
    paths = {"path": str(folder / name), "targets": str(folder / f"{name}-classes")}
    return {**paths, "format": "idx", "label": "label", "examples": count}


def run(
    module: ModuleType,
    folder: Path,
    setenv: Callable[[str, str], None],
    *,
    splits: dict[str, Any] | None = None,
    model: Path | None = None,
    seed: int = 1,
    **hyperparameters: Any,
) -> Run:
    """Run a task with its defaults but for what is given."""
    out = folder / f"out{len(list(folder.glob('out*')))}"
    out.mkdir()
    defaults = {field.name: field.default for field in dataclasses.fields(module.Settings)}
    body = {
        "schema": 1, "task": module.__name__, "model": None if model is None else str(model), "seed": seed,
        "data_seed": seed, "level": "bitwise", "threads": 1, "device": "cpu", "cpu_capability": "avx2",
        "hyperparameters": defaults | {"train_batch_size": 8} | hyperparameters, "out": str(out),
        "splits": splits or {
            name: write_pictures(folder, name, count) for name, count in (("train", 32), ("test", 12))
        },
    }  # fmt: skip
    (out / "job.json").write_text(json.dumps(body))
    setenv("REPRO_JOB", str(out / "job.json"))
    setenv("REPRO_METRICS", str(out / "metrics.jsonl"))
    code = task.run(module.main)
    return Run(out, code, [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()])
