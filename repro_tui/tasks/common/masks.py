"""Pictures with a class for every pixel: two folders of files with the same names, pictures and masks.

A mask is a grey or palette picture whose pixels are the numbers of the classes, as CamVid's are (Brostow et al. 2009,
"Semantic object classes in video").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from repro_tui.tasks.common import data, images, scenes
from repro_tui.tasks.common.images import SUFFIXES
from repro_tui.tasks.common.job import TaskError

VOID = 255
"""What pixels without a class have here, whatever number they have in the files."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and its mask."""

    name: str
    pixels: Tensor
    """RGB bytes, scaled (3, H, W)."""
    mask: Tensor
    """Numbers of the classes, VOID for pixels without one, bytes, as large as published (H', W')."""


def load(
    specs: data.Specs, *, longest: int | None, classes: Sequence[str], void: Sequence[int]
) -> dict[str, list[Scene]]:
    """Return every split of the job, each picture in one split only; a split's `classes` counts pictures with a class.

    Pictures are scaled so that the longer side has `longest` pixels at most. Pixels of the numbers `void` have no
    class. Raises TaskError for a number that is neither void nor a class.
    """
    if len(classes) > VOID:
        raise TaskError(
            f"hyperparameters.class_names has {len(classes)} names, {VOID} is the number of no class here",
            f"Name {VOID} classes at most",
        )

    def read(split: str, spec: data.Spec) -> list[Scene]:
        if spec["format"] != "image-masks":
            raise TaskError(
                f"splits.{split}: the format {spec['format']!r} is not one this task reads", "It reads image-masks"
            )
        return [_scene(split, pair, longest, classes, void) for pair in _pairs(split, spec)]

    splits = data.assemble({name: {**spec, "classes": None} for name, spec in specs.items()}, read)
    drawn = {spec["part_of"] for spec in specs.values() if spec.get("part_of") is not None}
    for name, spec in specs.items():
        if not splits[name]:
            raise TaskError(f"splits.{name} has no pictures", "Check `folder`, and what is drawn from the split")
        if name in drawn and spec.get("classes") is not None:
            raise TaskError(f"splits.{name}.classes: other splits are drawn from it", "Count the pictures of the parts")
        there = Counter(
            classes[number] for scene in splits[name] for number in scene.mask.unique().tolist() if number != VOID
        )
        data.check(name, {"classes": spec.get("classes")}, 0, there.elements())
    return splits


def _pairs(split: str, spec: data.Spec) -> list[tuple[Path, Path]]:
    """Return picture and mask of each example, by name; the mask's suffix may be another."""
    pictures = Path(spec["path"]) / (spec.get("folder") or "")
    masks = Path(spec["targets"]) if spec.get("targets") else Path(spec["path"]) / str(spec["label"])
    for folder, key in ((pictures, "folder"), (masks, "targets" if spec.get("targets") else "label")):
        if not folder.is_dir():
            raise TaskError(
                f"splits.{split}: {folder} is no folder", f"`{key}` names the folder of {_WHAT[key]} in the artifact"
            )
    if spec.get("listed_in"):
        path = Path(spec["path"]) / spec["listed_in"]
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise TaskError(f"splits.{split}: {path} cannot be read as text", "Check `listed_in`") from None
        names = [Path(line.split()[0]).name for line in lines if line.strip()]
        found = [pictures / name for name in names]
    else:
        found = sorted(path for path in pictures.iterdir() if path.suffix.lower() in SUFFIXES)
    used = {path.stem for path in found}
    named = sorted(path for path in masks.iterdir() if path.suffix.lower() in SUFFIXES and path.stem in used)
    for paths, folder in ((found, pictures), (named, masks)):
        stem, count = max(Counter(path.stem for path in paths).items(), key=itemgetter(1), default=("", 0))
        if count > 1:
            raise TaskError(
                f"splits.{split}: {folder}: {count} files are named {stem!r}, the suffix aside",
                "A picture and its mask are found by that name: rename or leave out the others",
            )
    by_stem = {path.stem: path for path in named}
    alone = next((path for path in found if path.stem not in by_stem), None)
    if alone is not None:
        raise TaskError(f"splits.{split}: {alone} has no mask in {masks}", "A mask has the name of its picture")
    return [(path, by_stem[path.stem]) for path in found]


_WHAT = {"folder": "the pictures", "label": "the masks", "targets": "the masks, an artifact of its own,"}


def _scene(
    split: str, pair: tuple[Path, Path], longest: int | None, classes: Sequence[str], void: Sequence[int]
) -> Scene:
    pixels, size = scenes.opened(split, pair[0], longest)
    try:
        with Image.open(pair[1]) as file:
            numbers = np.array(file)
    except images.UNREADABLE as error:
        raise TaskError(
            f"splits.{split}: {pair[1]} is no picture: {images.fault(error)}", "Check that the artifact is whole"
        ) from None
    if numbers.ndim != 2 or numbers.dtype != np.uint8 or numbers.shape != size:
        raise TaskError(
            f"splits.{split}: {pair[1]} is no mask of {size[1]}x{size[0]} numbers",
            "A mask is a grey or palette picture of one byte a pixel, as large as its picture",
        )
    unknown = sorted(set(np.unique(numbers).tolist()) - set(range(len(classes))) - set(void))
    if unknown:
        raise TaskError(
            f"splits.{split}: {pair[1]} has the class number {unknown[0]}, class_names has {len(classes)} names",
            "Name every class, from number 0, and the numbers without one in void_ids",
        )
    mask = torch.from_numpy(np.where(np.isin(numbers, void), VOID, numbers).astype(np.uint8))
    return Scene(pair[0].stem, pixels, mask)
