"""Pictures with boxes in the layout of the Pascal VOC challenges (Everingham et al. 2010, "The PASCAL VOC challenge").

    JPEGImages/<name>.jpg        a picture
    Annotations/<name>.xml       its size, and the class and the box of each object
    ImageSets/Main/<split>.txt   the names of the split's pictures, a line each

VOC's boxes count pixels from 1 and include their last one: xmin 1 and xmax 1 is the first column. Here a box is
(xmin - 1, ymin - 1, xmax, ymax): it goes from the left edge of its first pixel to the right edge of its last one, so
its width is xmax - xmin + 1. It is cut to the picture.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import torch
from torch import Tensor

from repro_tui.tasks.common import data, scenes
from repro_tui.tasks.common.job import TaskError

PICTURES, ANNOTATIONS, SUFFIX = "JPEGImages", "Annotations", ".jpg"


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture with M objects."""

    name: str
    pixels: Tensor
    """RGB bytes, scaled (3, H, W)."""
    size: tuple[int, int]
    """Height and width as published, in pixels."""
    boxes: Tensor
    """Left, top, right, bottom in pixels of the picture as published, from 0 (M, 4)."""
    labels: list[str]
    """Names of the classes (M,)."""
    difficult: list[bool]
    """Which objects the annotators marked as hard to see (M,); VOC's own evaluation leaves those out."""


def load(specs: data.Specs, *, longest: int | None) -> dict[str, list[Scene]]:
    """Return every split of the job, each picture in one split only; `classes` counts objects. Raises TaskError.

    Pictures are scaled so that the longer side has `longest` pixels at most.
    """

    def read(split: str, spec: data.Spec) -> list[Scene]:
        if spec["format"] != "voc":
            raise TaskError(f"splits.{split}: the format {spec['format']!r} is not one this task reads", "It reads voc")
        return _read(split, spec, longest)

    splits = data.assemble({name: {**spec, "classes": None} for name, spec in specs.items()}, read)
    drawn = {spec["part_of"] for spec in specs.values() if spec.get("part_of") is not None}
    for name, spec in specs.items():
        if not splits[name]:
            raise TaskError(f"splits.{name} has no pictures", "Check `listed_in`, and what is drawn from the split")
        if name in drawn and spec.get("classes") is not None:
            raise TaskError(f"splits.{name}.classes: other splits are drawn from it", "Count the objects of the parts")
        labels = (label for scene in splits[name] for label in scene.labels)
        data.check(name, {"classes": spec.get("classes")}, 0, labels)
    return splits


def classes_of(train: list[Scene]) -> list[str]:
    """Return the classes of the training split, sorted; raises TaskError where it has no object."""
    found = Counter(label for scene in train for label in scene.labels)
    if not found:
        raise TaskError("splits.train has no objects", "Check its annotations")
    return sorted(found)


def _read(split: str, spec: data.Spec, longest: int | None) -> list[Scene]:
    root = Path(spec["path"]) / (spec.get("folder") or "")
    if not (root / ANNOTATIONS).is_dir():
        raise TaskError(
            f"splits.{split}: {root} holds no folder {ANNOTATIONS}", "`folder` names VOC's folder below the artifact's"
        )
    if spec.get("listed_in"):
        path = Path(spec["path"]) / spec["listed_in"]
        try:
            names = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError):
            raise TaskError(f"splits.{split}: {path} cannot be read as text", "Check `listed_in`") from None
    else:
        names = sorted(file.stem for file in (root / ANNOTATIONS).glob("*.xml"))
    return [_scene(split, root, name, longest) for name in names]


def _scene(split: str, root: Path, name: str, longest: int | None) -> Scene:
    pixels, (height, width) = scenes.opened(split, root / PICTURES / f"{name}{SUFFIX}", longest)
    path = root / ANNOTATIONS / f"{name}.xml"
    boxes: list[list[float]] = []
    labels: list[str] = []
    difficult: list[bool] = []
    try:
        for element in ET.parse(path).iter("object"):  # noqa: S314 - pinned by digest, in a container
            ends = [float(element.findtext(f"bndbox/{key}") or "") for key in ("xmin", "ymin", "xmax", "ymax")]
            box = [max(ends[0] - 1, 0), max(ends[1] - 1, 0), min(ends[2], width), min(ends[3], height)]
            label = (element.findtext("name") or "").strip()
            if not label or box[0] >= box[2] or box[1] >= box[3]:
                fault = "an empty box" if label else "no name"
                raise TaskError(
                    f"splits.{split}: {path}: object {len(labels) + 1} has {fault}",
                    "Leave the picture out of the list, or correct the file",
                )
            boxes.append(box)
            labels.append(label)
            difficult.append((element.findtext("difficult") or "0").strip() == "1")
    except OSError as error:
        raise TaskError(f"splits.{split}: {path}: {error.strerror}", "Check the list") from None
    except (ET.ParseError, ValueError) as error:
        raise TaskError(f"splits.{split}: {path} is no annotation of VOC: {error}", "Check the file") from None
    return Scene(name, pixels, (height, width), torch.tensor(boxes).reshape(-1, 4), labels, difficult)
