"""Average precision of detections as COCO defines it (Lin et al. 2014, arXiv:1405.0312), by pycocotools."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

AT_50, AT_75 = 0, 5
"""Places of IoU 0.50 and 0.75 among the ten thresholds 0.50, 0.55, … 0.95."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Average precisions, between 0 and 1."""

    values: dict[str, float]
    """"map" (mean over classes and thresholds), "ap50", "ap75" (mean over classes)."""
    per_class: dict[str, dict[str, float]]
    """The same of each class that has an object."""


def result(image: int, number: int, box: Sequence[float], score: float) -> dict[str, Any]:
    """Return a detection as COCO's results have it: left, top, width, height in pixels, to a hundredth."""
    left, top, right, bottom = box
    sides = [round(value, 2) for value in (left, top, right - left, bottom - top)]
    return {"image_id": image, "category_id": number, "bbox": sides, "score": round(score, 5)}


def truth(image: int, number: int, box: Sequence[float], *, left_out: bool) -> dict[str, Any]:
    """Return an object as COCO's annotations have it; one that is left out is neither to be found nor wrong."""
    left, top, right, bottom = box
    sides = [left, top, right - left, bottom - top]
    area = sides[2] * sides[3]
    return {"image_id": image, "category_id": number, "bbox": sides, "area": area, "iscrowd": int(left_out)}


def average_precision(
    images: Sequence[int], objects: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]],
    classes: Mapping[int, str],
) -> Scores:  # fmt: skip
    """Return the average precision of results against objects; of each image the hundred most certain count."""
    with redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {
            "images": [{"id": image} for image in images],
            "annotations": [{"id": number, **each} for number, each in enumerate(objects, 1)],
            "categories": [{"id": number, "name": name} for number, name in classes.items()],
        }
        known.createIndex()
        found = COCO()
        found.dataset = {
            **known.dataset,
            "annotations": [
                {"id": number, "area": each["bbox"][2] * each["bbox"][3], "iscrowd": 0, **each}
                for number, each in enumerate(results, 1)
            ],
        }
        found.createIndex()
        evaluation = COCOeval(known, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    # (thresholds, recalls, classes) of objects of any size, at most a hundred an image; -1 for a class without objects
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    per_class = {
        classes[number]: _means(precision[:, :, place : place + 1])
        for place, number in enumerate(evaluation.params.catIds)
        if (precision[:, :, place] > -1).any()
    }
    return Scores(_means(precision), per_class)


def _means(precision: np.ndarray[Any, Any]) -> dict[str, float]:
    def mean(values: np.ndarray[Any, Any]) -> float:
        there = values[values > -1]
        return float(there.mean()) if there.size else float("nan")

    return {"map": mean(precision), "ap50": mean(precision[AT_50]), "ap75": mean(precision[AT_75])}
