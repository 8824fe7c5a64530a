"""Tables with many columns: files joined, categories numbered and numbers scaled by the training split alone."""

from __future__ import annotations

import csv
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from repro_tui.tasks.common import cleaning, data
from repro_tui.tasks.common.job import TaskError

CROSS = "*"
"""Between the columns of a cross-product feature: "education*occupation"."""


@dataclass(frozen=True, slots=True)
class Table:
    """A split: N rows of feature columns, in the file's order, and the class of each row (N,)."""

    frame: pd.DataFrame
    classes: list[str]


def load(specs: data.Specs, columns: Sequence[str], *, classify: Callable[[str], str] = str) -> dict[str, Table]:
    """Return every split with these columns; `classify` makes the class of what stands in the column `label`.

    Drawing, `first`, `skip`, `examples` and `classes` are those of `data.assemble`.
    """
    frames: dict[str, pd.DataFrame] = {}

    def read_file(name: str, spec: data.Spec) -> list[tuple[int, str]]:
        frame = clean(name, read(name, spec), spec)
        label = spec["label"]
        if label in columns:
            raise TaskError(
                f"hyperparameters: the feature {label!r} is the label of splits.{name}",
                "Leave it out of the features: it says the answer",
            )
        for column in (*columns, label):
            if column not in frame.columns:
                raise TaskError(
                    f"splits.{name}: {spec['path']} has no column {column!r}",
                    f"Its columns, with those joined to it, are {', '.join(map(str, frame.columns))}",
                )
        labels = texts(frame[label])
        if "" in labels:
            raise TaskError(f"splits.{name}: row {labels.index('')} has no {label!r}", "Rows are counted from 0")
        frames[name] = frame[list(columns)]
        return list(enumerate(map(classify, labels)))

    def origin(name: str) -> str:
        return name if specs[name].get("part_of") is None else origin(specs[name]["part_of"])

    splits = data.assemble(specs, read_file, label=lambda example: example[1])
    return {
        name: Table(
            frames[origin(name)].iloc[[row for row, _ in examples]].reset_index(drop=True),
            [label for _, label in examples],
        )
        for name, examples in splits.items()
    }


def read(split: str, spec: data.Spec) -> pd.DataFrame:
    """Return the split's table with those of its `joins` beside it, a row of the first file each, in its order.

    A join `{path, on}` adds the other columns of a file of the same format, whose rows differ in the column `on`; a row
    with no partner there gets missing values.
    """
    frame = _file(split, Path(spec["path"]), spec["format"])
    for join in spec.get("joins") or ():
        other, on = _file(split, Path(join["path"]), spec["format"]), join["on"]
        where = f"splits.{split}: the join of {join['path']} on {on!r}"
        for columns in (frame.columns, other.columns):
            if on not in columns:
                raise TaskError(
                    f"{where}: there is no such column among {', '.join(columns)}", "Name one of both files"
                )
        if other[on].duplicated().any():
            value = other[on][other[on].duplicated()].iloc[0]
            raise TaskError(f"{where}: the file has several rows for {value!r}", "Join a file with one row a value")
        if both := sorted(set(frame.columns) & set(other.columns) - {on}):
            raise TaskError(
                f"{where}: both files have the columns {', '.join(both)}", "Rename them in one of the files"
            )
        frame = frame.merge(other, on=on, how="left")
    return frame


def clean(split: str, frame: pd.DataFrame, spec: data.Spec) -> pd.DataFrame:
    """Return the table after the split's `clean`, which is of the columns `text` and `text_pair`; all is text then."""
    steps = spec.get("clean")
    if not steps:
        return frame
    roles = {spec[role]: role for role in cleaning.TEXTS if spec.get(role) is not None}
    for column in roles:
        if column not in frame.columns:
            raise TaskError(f"splits.{split}: `clean` finds no column {column!r}", "Set `text` to the column of texts")
    keys = {column: roles.get(column, f"column {column}") for column in frame.columns}
    values = [texts(frame[column]) for column in keys]
    rows = [dict(zip(keys.values(), row, strict=True)) for row in zip(*values, strict=True)]
    cleaned = pd.DataFrame(cleaning.clean(rows, steps), columns=list(keys.values()), dtype="string")
    return cleaned.rename(columns={key: column for column, key in keys.items()})


def binary(positive: str | None, at_least: float | None) -> Callable[[str], str]:
    """Return the rule that makes "1" or "0" of a label: it is `positive`, or it is a number of `at_least` or more.

    Raises TaskError where not just one of the two is given, and, from the rule, for a label that is no number.
    """
    if (positive is None) == (at_least is None):
        raise TaskError(
            "hyperparameters: the positive class is not said", "Give `positive` or `positive_from`, one of them"
        )

    def rule(label: str) -> str:
        if at_least is None:
            return str(int(label == positive))
        try:
            return str(int(float(label) >= at_least))
        except ValueError:
            raise TaskError(f"the label {label!r} is no number", "Use `positive` in place of `positive_from`") from None

    return rule


def texts(column: pd.Series) -> list[str]:
    """Return the values of a column as text (N,), the empty text where one is missing."""
    return [str(value) for value in column.astype("string").fillna("")]


def with_crosses(frame: pd.DataFrame, crosses: Sequence[str]) -> pd.DataFrame:
    """Return a table of cross-product features: the column "a*b" holds the values of `a` and `b` together."""
    crossed = {}
    for cross in crosses:
        parts = [texts(frame[name]) for name in cross.split(CROSS)]
        crossed[cross] = [CROSS.join(values) for values in zip(*parts, strict=True)]
    return pd.DataFrame(crossed, index=frame.index)


@dataclass(frozen=True, slots=True)
class Features:
    """How columns become numbers; everything in it comes from the training split."""

    vocabularies: Mapping[str, Sequence[str]]
    """Categorical column -> its values, sorted; the first has the number 1, and 0 is any value not among them."""
    means: Mapping[str, float]
    """Numerical column -> mean over the rows that have a value."""
    deviations: Mapping[str, float]
    """Numerical column -> standard deviation over them (the population's); 1 for a column that never varies."""

    @classmethod
    def fit(
        cls, train: pd.DataFrame, categorical: Sequence[str], numerical: Sequence[str] = (), *, min_count: int = 1
    ) -> Features:
        """Return the features of a training table; a category seen fewer than `min_count` times is unknown.

        A missing category is one of its own, the empty text. Raises TaskError for a number column without a number.
        """
        vocabularies = {
            name: sorted(value for value, count in Counter(texts(train[name])).items() if count >= min_count)
            for name in categorical
        }
        means, deviations = {}, {}
        for name in numerical:
            values = _numbers(train, name).dropna()
            if values.empty:
                raise TaskError(
                    f"the column {name!r} has no number in the training split", "Leave it out of `numerical`"
                )
            means[name] = math.fsum(values) / len(values)
            deviations[name] = math.sqrt(math.fsum((values - means[name]) ** 2) / len(values)) or 1.0
        return cls(vocabularies, means, deviations)

    @property
    def sizes(self) -> list[int]:
        """Return how many numbers each categorical column can have, 0 for the unknown included."""
        return [len(values) + 1 for values in self.vocabularies.values()]

    def categories(self, frame: pd.DataFrame) -> torch.Tensor:
        """Return the numbers of the categories, (N, categorical columns) of int64."""
        columns = []
        for name, values in self.vocabularies.items():
            number = {value: place for place, value in enumerate(values, 1)}
            columns.append(torch.tensor([number.get(value, 0) for value in texts(frame[name])], dtype=torch.int64))
        return torch.stack(columns, dim=1) if columns else torch.zeros(len(frame), 0, dtype=torch.int64)

    def numbers(self, frame: pd.DataFrame) -> torch.Tensor:
        """Return (value - mean) / deviation, (N, numerical columns) of float32; 0, the mean, where one is missing."""
        columns = [
            torch.tensor(((_numbers(frame, name) - self.means[name]) / self.deviations[name]).fillna(0.0).to_numpy())
            for name in self.means
        ]
        return torch.stack(columns, dim=1).float() if columns else torch.zeros(len(frame), 0)

    def body(self) -> dict[str, Any]:
        """Return all of it as JSON takes it: without it the weights mean nothing."""
        return {
            "vocabularies": {name: list(values) for name, values in self.vocabularies.items()},
            "means": dict(self.means),
            "deviations": dict(self.deviations),
        }


def _numbers(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return a column as float64, NaN where the value is missing; raises TaskError for what is no finite number."""
    given = texts(frame[name])
    numbers = (
        pd.to_numeric(pd.Series(given), errors="coerce").astype("float64").replace([math.inf, -math.inf], math.nan)
    )
    for row, (value, missing) in enumerate(zip(given, numbers.isna(), strict=True)):
        if missing and value:
            raise TaskError(
                f"the column {name!r} has {value!r} in row {row}, which is no number",
                "Make it categorical, or leave it out of `numerical`",
            )
    return numbers


def _file(split: str, path: Path, kind: str) -> pd.DataFrame:
    """Read one file: separated text has a header, and only an empty cell is a missing value; tsv has no quoting."""
    try:
        if kind == "parquet":
            frame = pd.read_parquet(path, engine="pyarrow", dtype_backend="numpy_nullable")
        elif kind in {"csv", "tsv"}:
            quoting: dict[str, Any] = {"sep": "\t", "quoting": csv.QUOTE_NONE} if kind == "tsv" else {}
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with more cells than the header
                frame = pd.read_csv(
                    path, dtype="string", keep_default_na=False, na_values=[""], encoding="utf-8-sig",
                    index_col=False, **quoting,
                )  # fmt: skip
        else:
            raise TaskError(f"splits.{split}: the format {kind!r} is none of a table", "It reads csv, tsv, parquet")
    except OSError as error:
        raise TaskError(f"splits.{split}: {path}: {error.strerror or error}", "Check the artifact's `path`") from None
    except (
        ValueError,
        pd.errors.ParserWarning,
    ) as error:  # a parser's, pyarrow's and the decoder's errors are all of this kind
        reason = str(error).strip().splitlines()[0]
        raise TaskError(f"splits.{split}: {path} is no {kind} file: {reason}", "Check `format`") from None
    if frame.empty:
        raise TaskError(f"splits.{split}: {path} has no examples", "Check `format`")
    return frame
