"""Splits as `datasets` datasets: files read as published, parts drawn from them by a stated rule, counts checked."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from repro_tui.tasks.common.job import TaskError

Row = dict[str, str]
"""One example of text: "text", "label" and, where the split has pairs, "text_pair"."""

ORANGE_HEADER_ROWS = 3
"""Names, types and roles of the columns (Orange's native tab-delimited format)."""


def load_splits(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, Dataset]:
    """Return every split of the job, each example in one split only.

    Files first, cut to their `first` examples; then, in the job's order, each part is drawn from its parent, which
    keeps the rest. `examples` counts a file as read, before anything is drawn from it, and a part as drawn.
    """
    splits: dict[str, Dataset] = {}
    for name, spec in specs.items():
        if spec.get("part_of") is None:
            rows = read(name, spec)[: spec.get("first")]
            splits[name] = Dataset.from_list(rows)
            _check_count(name, spec, len(rows))
    for name, spec in specs.items():
        parent = spec.get("part_of")
        if parent is None:
            continue
        if parent not in splits:
            raise TaskError(
                f"splits.{name}: there is no split {parent!r} to draw from", "Name a split read from a file"
            )
        groups = splits[parent]["label"] if spec.get("stratified") else None
        rest, part = draw(len(splits[parent]), spec["fraction"], spec["seed"], groups=groups)
        part = part[: spec.get("first")]
        splits[name] = splits[parent].select(part)
        splits[parent] = splits[parent].select(rest)
        _check_count(name, spec, len(part))
    return splits


def draw(count: int, fraction: float, seed: int, *, groups: Sequence[str] | None = None) -> tuple[list[int], list[int]]:
    """Split range(count) into (rest, part), both ascending; the part has ceil(fraction * count) members.

    Members are those with the lowest SHA-256 of "<seed>:<index>": a rule that no library's generator can change. With
    `groups` (count,) every group gives its share, fractions of one going to the largest remainders.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index in range(count):
        members[groups[index] if groups is not None else ""].append(index)
    wanted = math.ceil(fraction * count)
    shares = {name: len(indices) * wanted / count for name, indices in members.items()}
    quota = {name: math.floor(share) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: (quota[name] - shares[name], name))
    for name in by_remainder[: wanted - sum(quota.values())]:
        quota[name] += 1
    part = {
        index
        for name, indices in members.items()
        for index in sorted(indices, key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())[: quota[name]]
    }
    return [index for index in range(count) if index not in part], sorted(part)


def label_set(train: Dataset) -> list[str]:
    """Return the labels of the training split, sorted; raises TaskError for fewer than two."""
    labels = sorted(set(train["label"]))
    if len(labels) < 2:
        raise TaskError(f"splits.train has the labels {labels} only", "Check `label`: is it the right column?")
    return labels


def label_numbers(split: str, dataset: Dataset, labels: Sequence[str]) -> list[int]:
    """Return the place of each example's label in `labels`, (N,); raises TaskError for a label that is not there."""
    number = {label: index for index, label in enumerate(labels)}
    try:
        return [number[label] for label in dataset["label"]]
    except KeyError as error:
        raise TaskError(
            f"splits.{split} has the label {error}, which no training example has", f"Known are: {', '.join(labels)}"
        ) from None


def read(split: str, spec: Mapping[str, Any]) -> list[Row]:
    """Read the file of a split; raises TaskError that names split, file, line and column."""
    path = Path(spec["path"])
    columns = {key: spec[key] for key in ("text", "text_pair", "label") if spec.get(key) is not None}
    try:
        rows = list(_READERS[spec["format"]](path, columns))
    except OSError as error:
        raise TaskError(f"splits.{split}: {path}: {error.strerror}", "Check the artifact's `path`") from None
    except UnicodeDecodeError as error:
        raise TaskError(f"splits.{split}: {path} is not UTF-8 at byte {error.start}", "Convert the file") from None
    except _MalformedError as error:
        raise TaskError(
            f"splits.{split}: {path}, {error}", "Check `format` and the columns `text` and `label`"
        ) from None
    if not rows:
        raise TaskError(f"splits.{split}: {path} has no examples", "Check `format`")
    return rows


class _MalformedError(Exception):
    """What is wrong, beginning with the line."""


def _separated(
    path: Path, columns: Mapping[str, str | int], *, comma: bool = False, header_rows: int = 1
) -> Iterator[Row]:
    """Read a table. It has a header where a column is given by name, and in the formats that always have one."""
    csv.field_size_limit(sys.maxsize)
    named = any(isinstance(column, str) for column in columns.values())
    with path.open(encoding="utf-8-sig", newline="") as stream:
        # Tab-separated data has no quoting: a quotation mark there is part of the text.
        lines = csv.reader(stream) if comma else (line.rstrip("\r\n").split("\t") for line in stream)
        place: dict[str, int] = {key: column for key, column in columns.items() if isinstance(column, int)}
        for number, cells in enumerate(lines, 1):
            if number <= header_rows and (named or header_rows > 1):
                if number == 1:
                    place |= _places(cells, columns)
            elif any(cells):
                if len(cells) <= max(place.values()):
                    raise _MalformedError(
                        f"line {number}: {len(cells)} columns, column {max(place.values())} is asked for"
                    )
                yield _row(number, {key: cells[index] for key, index in place.items()})


def _places(header: Sequence[str], columns: Mapping[str, str | int]) -> dict[str, int]:
    names = {key: column for key, column in columns.items() if isinstance(column, str)}
    for column in names.values():
        if column not in header:
            raise _MalformedError(f"line 1: no column {column!r} among {', '.join(header)}")
    return {key: header.index(column) for key, column in names.items()}


def _json_lines(path: Path, columns: Mapping[str, str | int]) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                body = json.loads(line)
                yield _row(number, {key: body[column] for key, column in columns.items()})
            except ValueError as error:
                raise _MalformedError(f"line {number}: not JSON: {error}") from None
            except (KeyError, TypeError, IndexError) as error:
                raise _MalformedError(f"line {number}: no field {error}") from None


def _row(number: int, cells: Mapping[str, Any]) -> Row:
    row = {key: value if isinstance(value, str) else json.dumps(value) for key, value in cells.items()}
    if not row["label"]:
        raise _MalformedError(f"line {number}: the label is empty")
    return row


_READERS = {
    "tsv": _separated,
    "csv": lambda path, columns: _separated(path, columns, comma=True),
    "orange-tab": lambda path, columns: _separated(path, columns, header_rows=ORANGE_HEADER_ROWS),
    "jsonl": _json_lines,
}


def _check_count(split: str, spec: Mapping[str, Any], found: int) -> None:
    expected = spec.get("examples")
    if expected is not None and found != expected:
        raise TaskError(
            f"splits.{split} has {found} examples, {expected} are pinned",
            "Another file, format or rule than the one recorded",
        )
