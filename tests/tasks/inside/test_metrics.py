"""Metrics against values worked out by hand."""

import pytest

from repro_tui.tasks.common.metrics import classification

TRUTH = [0, 0, 0, 0, 1, 1, 2, 2]
PREDICTED = [0, 0, 0, 1, 1, 0, 0, 0]


def test_macro_metrics() -> None:
    found = classification(TRUTH, PREDICTED, ["a", "b", "c"], averaging="macro")
    # a: precision 3/6, recall 3/4; b: 1/2, 1/2; c: never predicted, so 0.
    assert found.values == pytest.approx({
        "accuracy": 4 / 8,
        "macro_precision": (3 / 6 + 1 / 2 + 0) / 3,
        "macro_recall": (3 / 4 + 1 / 2 + 0) / 3,
        "macro_f1": (2 * (3 / 6) * (3 / 4) / (3 / 6 + 3 / 4) + 1 / 2 + 0) / 3,
    })  # fmt: skip


def test_tables() -> None:
    found = classification(TRUTH, PREDICTED, ["a", "b", "c"], averaging="macro")
    columns, rows = found.per_class
    assert columns == ["class", "precision", "recall", "f1", "support"]
    assert rows == [["a", 0.5, 0.75, pytest.approx(0.6), 4], ["b", 0.5, 0.5, 0.5, 2], ["c", 0, 0, 0, 2]]
    columns, rows = found.confusion
    assert columns == ["true class", "a", "b", "c"]
    assert rows == [["a", 3, 1, 0], ["b", 1, 1, 0], ["c", 2, 0, 0]]


def test_a_class_that_a_split_lacks_keeps_its_row() -> None:
    found = classification([0, 1], [0, 1], ["a", "b", "c"], averaging="macro")
    assert found.confusion[1] == [["a", 1, 0, 0], ["b", 0, 1, 0], ["c", 0, 0, 0]]
    assert found.values["macro_f1"] == pytest.approx(2 / 3)


def test_binary_metrics_are_those_of_the_second_class() -> None:
    found = classification([1, 1, 1, 0, 0], [1, 0, 0, 1, 0], ["0", "1"], averaging="binary")
    assert found.values == pytest.approx(
        {"accuracy": 2 / 5, "binary_precision": 1 / 2, "binary_recall": 1 / 3, "binary_f1": 0.4}
    )
