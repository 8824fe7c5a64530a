"""Tables: formats, joins, what is taken from the training split alone, and what is wrong with a file."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from repro_tui.tasks.common import tables
from repro_tui.tasks.common.job import TaskError

RATINGS = "user,item,rating\n1,a,5\n2,b,3\n1,c,4\n3,a,1\n"
USERS = "user,age,city\n1,20,X\n2,,Y\n"


def spec(folder: Path, content: str = RATINGS, **changed: Any) -> dict[str, Any]:
    path = folder / f"{len(list(folder.iterdir()))}.csv"
    path.write_text(content)
    return {"path": str(path), "format": "csv", "label": "rating", "first": None, **changed}


def joined(folder: Path, other: str = USERS, **changed: Any) -> dict[str, Any]:
    return spec(folder, joins=[{"path": spec(folder, other)["path"], "on": "user"}], **changed)


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_every_format_gives_the_same_table(tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"user": ["1", "2"], "note": ['say "a"', None], "rating": ["5", "NA"]})
    path = tmp_path / "table"
    if kind == "parquet":
        frame.to_parquet(path, compression="brotli")
    elif kind == "csv":
        frame.to_csv(path, index=False)
    else:
        path.write_text('user\tnote\trating\n1\tsay "a"\t5\n2\t\tNA\n')
    read = tables.load({"train": {"path": str(path), "format": kind, "label": "rating"}}, ["user", "note"])["train"]
    assert tables.texts(read.frame["user"]) == ["1", "2"]
    assert tables.texts(read.frame["note"]) == ['say "a"', ""]
    assert read.classes == ["5", "NA"], "only an empty cell is a missing value"


def test_a_join_adds_columns_in_the_order_of_the_first_file(tmp_path: Path) -> None:
    table = tables.load({"train": joined(tmp_path)}, ["item", "age", "city"])["train"]
    assert tables.texts(table.frame["item"]) == ["a", "b", "c", "a"]
    assert tables.texts(table.frame["age"]) == ["20", "", "20", ""]
    assert tables.texts(table.frame["city"]) == ["X", "Y", "X", ""], "a row without a partner has missing values"
    assert table.classes == ["5", "3", "4", "1"]


def test_whole_numbers_of_a_join_stay_whole_where_some_are_missing(tmp_path: Path) -> None:
    pd.DataFrame({"user": [1, 3], "rating": [5, 1]}).to_parquet(tmp_path / "one")
    pd.DataFrame({"user": [1], "zip": [12]}).to_parquet(tmp_path / "other")
    given = {"path": str(tmp_path / "one"), "format": "parquet", "label": "rating",
             "joins": [{"path": str(tmp_path / "other"), "on": "user"}]}  # fmt: skip
    assert tables.texts(tables.load({"train": given}, ["zip"])["train"].frame["zip"]) == ["12", ""]


def test_parts_of_a_file_and_its_class_balance(tmp_path: Path) -> None:
    given = spec(tmp_path, examples=3, skip=1, classes={"0": 2, "1": 1})
    part = {"part_of": "train", "fraction": 0.3, "seed": 1, "examples": 1}
    splits = tables.load({"train": given, "test": part}, ["item"], classify=tables.binary(None, 4))
    together = [pair for table in splits.values() for pair in zip(table.frame["item"], table.classes, strict=True)]
    assert sorted(together) == [("a", "0"), ("b", "0"), ("c", "1")]
    with pytest.raises(TaskError, match=r"another class balance: 0 2 \(pinned 1\), 1 1 \(pinned 2\)"):
        tables.load({"train": given | {"classes": {"0": 1, "1": 2}}}, ["item"], classify=tables.binary(None, 4))


def test_features_come_from_the_training_table_alone() -> None:
    train = pd.DataFrame({"city": ["b", "a", "b", None], "age": ["1", "3", "", "5"], "same": ["7"] * 4})
    features = tables.Features.fit(train, ["city"], ["age", "same"])
    assert features.vocabularies == {"city": ["", "a", "b"]}
    assert features.sizes == [4]
    assert features.means == {"age": 3.0, "same": 7.0}
    assert features.deviations == pytest.approx({"age": (8 / 3) ** 0.5, "same": 1.0})
    other = pd.DataFrame({"city": ["z", "b", None], "age": ["3", "", "5"], "same": ["7", "8", ""]})
    assert features.categories(other).tolist() == [[0], [3], [1]]
    assert torch.allclose(features.numbers(other), torch.tensor([[0, 0], [0, 1], [2 / (8 / 3) ** 0.5, 0]]))
    assert tables.Features.fit(train, ["city"], min_count=2).vocabularies == {"city": ["b"]}


def test_crosses_hold_the_values_together() -> None:
    frame = pd.DataFrame({"a": ["x", "y"], "b": ["1", None]})
    assert tables.with_crosses(frame, ["a*b"])["a*b"].tolist() == ["x*1", "y*"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"label": "stars"}, r"splits\.train: .*no column 'stars'. Its columns, .* are user, item, rating"),
        ({"format": "parquet"}, r"is no parquet file"),
        ({"format": "idx"}, r"the format 'idx' is none of a table"),
        ({"path": "/absent"}, r"splits\.train: /absent: No such file"),
        ({"examples": 5}, r"splits\.train has 4 examples, 5 are pinned"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words):
        tables.load({"train": spec(tmp_path, **changed)}, ["item"])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("person,age\n1,20\n", r"the join of .* on 'user': there is no such column among person, age"),
        ("user,age\n1,20\n1,30\n", r"the file has several rows for '1'"),
        ("user,item\n1,q\n", r"both files have the columns item"),
    ],
)
def test_a_join_that_is_not_one_is_refused(tmp_path: Path, other: str, words: str) -> None:
    with pytest.raises(TaskError, match=words):
        tables.load({"train": joined(tmp_path, other)}, ["item"])


@pytest.mark.parametrize("content", ["user,item,rating\n1,a,5,9\n2,b,3,9\n", "user,item,rating\n1,a,5\n2,b,3,9\n"])
@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_row_with_more_cells_than_the_header_is_an_error(tmp_path: Path, content: str, kind: str) -> None:
    written = content if kind == "csv" else content.replace(",", "\t")
    with pytest.raises(TaskError, match=rf"splits\.train: .* is no {kind} file: "):
        tables.load({"train": spec(tmp_path, written, format=kind)}, ["item"])


def test_a_missing_label_and_a_number_that_is_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"splits\.train: row 1 has no 'rating'"):
        tables.load({"train": spec(tmp_path, "user,rating\n1,5\n2,\n")}, ["user"])
    frame = pd.DataFrame({"age": ["1", "old"]})
    with pytest.raises(TaskError, match=r"the column 'age' has 'old' in row 1, which is no number"):
        tables.Features.fit(frame, [], ["age"])
    with pytest.raises(TaskError, match=r"'age' has no number in the training split"):
        tables.Features.fit(pd.DataFrame({"age": [None]}), [], ["age"])


def test_the_rule_for_the_positive_class() -> None:
    assert [tables.binary(">50K", None)(label) for label in ("<=50K", ">50K")] == ["0", "1"]
    assert [tables.binary(None, 4)(label) for label in ("3", "4", "5.0")] == ["0", "1", "1"]
    with pytest.raises(TaskError, match="Give `positive` or `positive_from`"):
        tables.binary(None, None)
    with pytest.raises(TaskError, match="the label 'good' is no number"):
        tables.binary(None, 4)("good")
