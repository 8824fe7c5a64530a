"""Splits as `datasets` datasets: files read as published, parts drawn from them by a stated rule, counts checked."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from datasets import Dataset

from repro_tui.tasks.common import cleaning
from repro_tui.tasks.common.job import TaskError

Spec = Mapping[str, Any]
"""A split of the job; docs/tasks.md shows one."""

Specs = Mapping[str, Spec]

ExampleT = TypeVar("ExampleT")

Row = dict[str, str]
"""One example of text: "text", "label", "text_pair" where the split has pairs, and what `columns` names."""

ORANGE_HEADER_ROWS = 3
"""Names, types and roles of the columns (Orange's native tab-delimited format)."""


def load_splits(specs: Specs) -> dict[str, Dataset]:
    """Return every split of the job as rows of text, each example in one split only; see `assemble`."""
    splits = assemble(specs, read, label=lambda row: row["label"])
    return {name: Dataset.from_list(rows) for name, rows in splits.items()}


def assemble(
    specs: Specs,
    read: Callable[[str, Spec], Sequence[ExampleT]],
    *,
    label: Callable[[ExampleT], str] | None = None,
) -> dict[str, list[ExampleT]]:
    """Return the examples of every split, each in one split only.

    Files first, as `read(name, spec)` gives them, without their first `skip` examples, and of the others the `first`;
    then, in the job's order, each part is drawn from its parent, which keeps the rest. `examples` and `classes` count a
    file as read, before anything is drawn from it, and a part as drawn. `label` gives the class of an example: for
    `classes`, and for stratified parts.
    """
    splits: dict[str, list[ExampleT]] = {}
    for name, spec in specs.items():
        if spec.get("part_of") is None:
            splits[name] = list(read(name, spec))[spec.get("skip") or 0 :][: spec.get("first")]
            check(name, spec, len(splits[name]), None if label is None else map(label, splits[name]))
    for name, spec in specs.items():
        parent = spec.get("part_of")
        if parent is None:
            continue
        if parent not in splits:
            raise TaskError(
                f"splits.{name}: there is no split {parent!r} to draw from", "Name a split read from a file"
            )
        whole = splits[parent]
        if spec.get("stratified") and label is None:
            raise TaskError(f"splits.{name}: `stratified` needs classes, this task has none", "Leave it out")
        groups = [label(example) for example in whole] if spec.get("stratified") and label is not None else None
        rest, part = draw(len(whole), spec["fraction"], spec["seed"], groups=groups)
        splits[name] = [whole[index] for index in part[: spec.get("first")]]
        splits[parent] = [whole[index] for index in rest]
        check(name, spec, len(splits[name]), None if label is None else map(label, splits[name]))
    return splits


def check(split: str, spec: Spec, count: int, classes: Iterable[str] | None = None) -> None:
    """Compare a split's number of examples and its class balance with the pinned ones; raises TaskError."""
    expected = spec.get("examples")
    if expected is not None and count != expected:
        raise TaskError(
            f"splits.{split} has {count} examples, {expected} are pinned",
            "Another file, format or rule than the one recorded",
        )
    pinned = spec.get("classes")
    if pinned is None:
        return
    found = Counter(classes or ())
    different = [
        f"{name} {found[name]} (pinned {pinned.get(name, 0)})"
        for name in sorted({*found, *pinned})
        if found[name] != pinned.get(name, 0)
    ]
    if different:
        raise TaskError(
            f"splits.{split} has another class balance: {', '.join(different[:5])}",
            "Another file, column, rule or cleaning than the one recorded",
        )


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


def read(split: str, spec: Spec) -> list[Row]:
    """Read the file of a split and clean its texts; raises TaskError that names split, file, line and column."""
    path = Path(spec["path"])
    columns = {key: spec[key] for key in ("text", "text_pair", "label") if spec.get(key) is not None}
    columns |= spec.get("columns") or {}
    try:
        rows = list(_READERS[spec["format"]](path, columns))
    except KeyError as error:
        raise TaskError(
            f"splits.{split}: the format {error} is not one this task reads", f"It reads {', '.join(_READERS)}"
        ) from None
    except OSError as error:
        raise TaskError(f"splits.{split}: {path}: {error.strerror}", "Check the artifact's `path`") from None
    except UnicodeDecodeError as error:
        raise TaskError(f"splits.{split}: {path} is not UTF-8 at byte {error.start}", "Convert the file") from None
    except _MalformedError as error:
        raise TaskError(
            f"splits.{split}: {path}, {error}", "Check `format` and the columns `text` and `label`"
        ) from None
    rows = cleaning.clean(rows, spec.get("clean") or ())
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
                    if number == 1 and cells[0].startswith("#"):
                        continue  # a comment
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
    if missing := next((key for key, value in cells.items() if value is None), None):
        raise _MalformedError(f"line {number}: the {missing} is null")
    row = {key: value if isinstance(value, str) else json.dumps(value) for key, value in cells.items()}
    if row.get("label") == "":
        raise _MalformedError(f"line {number}: the label is empty")
    return row


_READERS = {
    "tsv": _separated,
    "csv": lambda path, columns: _separated(path, columns, comma=True),
    "orange-tab": lambda path, columns: _separated(path, columns, header_rows=ORANGE_HEADER_ROWS),
    "jsonl": _json_lines,
}
