"""Preparing texts before any model: cleaned, drawn, counted, and written as JSON lines that later stages read.

It depends on no model, so that as a stage of its own it is done once for all that build on it. Examples that stand in
the training split and in another one make the other's score too good (Lee et al. 2022, Deduplicating Training Data
Makes Language Models Better, arXiv:2107.06499); they are counted, and may be dropped or refused.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from repro_tui import wire
from repro_tui.tasks.common import data, emit, start
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train",)
FORMATS = ("tsv", "csv", "jsonl", "orange-tab")
CHECKPOINT = "none"
METRICS = ("examples", "class_share", "shared_with_train")
OUTPUTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hyperparameters of the task."""

    shared: Literal["keep", "drop", "refuse"] = "keep"
    """Examples of `train` whose texts another split has too: kept, dropped from `train`, or the end of the task."""


def main(job: Job) -> None:
    """Write every split as `<split>.jsonl`, a line an example, and tell its number of examples and class balance."""
    settings, _ = start.begin(job, Settings)
    splits = data.assemble(job.splits, data.read, label=lambda row: row["label"])
    shared = {name: shared_with(splits["train"], rows) for name, rows in splits.items() if name != "train"}
    splits["train"] = without_shared(splits, shared, settings.shared)
    emit.phase("evaluate")
    balance = {name: Counter(row["label"] for row in rows) for name, rows in splits.items()}
    for name, rows in splits.items():
        emit.output(name, write(job.out / f"{name}.jsonl", rows), job.out)
        emit.metrics({"examples": len(rows)}, split=name)
        for label, count in sorted(balance[name].items()):
            wire.emit("metric", name="class_share", value=count / len(rows), split=name, **{"class": label})
    for name, count in shared.items():
        emit.metrics({"shared_with_train": count}, split=name)
    emit.table(
        "class_balance",
        ("split", "class", "examples"),
        [(name, label, count) for name, counts in balance.items() for label, count in sorted(counts.items())],
    )


def shared_with(train: Sequence[data.Row], rows: Sequence[data.Row]) -> int:
    """Return how many of the rows have texts that a row of the training split has too, labels aside."""
    known = set(map(texts, train))
    return sum(texts(row) in known for row in rows)


def without_shared(splits: Mapping[str, list[data.Row]], shared: Mapping[str, int], rule: str) -> list[data.Row]:
    """Return the training split after the rule for examples that another split has too; raises TaskError."""
    found = {name: count for name, count in shared.items() if count}
    if rule == "keep" or not found:
        return splits["train"]
    if rule == "refuse":
        words = ", ".join(f"{count} of {name}" for name, count in found.items())
        raise TaskError(f"splits.train has examples that are in other splits: {words}", 'Set shared = "drop" or "keep"')
    others = {texts(row) for name in found for row in splits[name]}
    rest = [row for row in splits["train"] if texts(row) not in others]
    if not rest:
        raise TaskError("splits.train has no example that no other split has", "Is it the same file as another split?")
    return rest


def texts(row: data.Row) -> tuple[str, str]:
    """Return what makes an example the same as another: its text, and its second one where it has two."""
    return row["text"], row.get("text_pair", "")


def write(path: Path, rows: Sequence[data.Row]) -> Path:
    """Write the rows as JSON lines with sorted keys, so that equal rows are equal bytes; return the path."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(run(main))
