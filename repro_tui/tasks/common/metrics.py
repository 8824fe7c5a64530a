"""Classification metrics by scikit-learn, under the names the manifest knows them by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support


@dataclass(frozen=True, slots=True)
class Classification:
    """Values by name, and two tables as (columns, rows)."""

    values: dict[str, float]
    per_class: tuple[list[str], list[list[str | float]]]
    confusion: tuple[list[str], list[list[str | float]]]


def classification(
    truth: Sequence[int], predicted: Sequence[int], labels: Sequence[str], *, averaging: str
) -> Classification:
    """Return accuracy, precision, recall and F1 of class numbers (N,) and (N,) that index `labels` (C,).

    `averaging` "macro" means over all classes, each weighing the same; "binary" takes the second of two classes as the
    positive one. A class never predicted has precision 0.
    """
    numbers = list(range(len(labels)))
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=numbers, average=None, zero_division=0
    )
    if averaging == "binary":
        averaged = (precision[1], recall[1], f1[1])
    else:
        averaged = (precision.mean(), recall.mean(), f1.mean())
    values = {"accuracy": float(accuracy_score(truth, predicted))}
    for name, value in zip(("precision", "recall", "f1"), averaged, strict=True):
        values[f"{averaging}_{name}"] = float(value)
    matrix = confusion_matrix(truth, predicted, labels=numbers)
    return Classification(
        values,
        per_class=(
            ["class", "precision", "recall", "f1", "support"],
            [
                [label, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i])]
                for i, label in enumerate(labels)
            ],
        ),
        confusion=(
            ["true class", *labels],
            [[label, *(int(count) for count in matrix[i])] for i, label in enumerate(labels)],
        ),
    )
