"""Find objects in pictures: which class, and a box around each.

FCOS (Tian et al. 2019, arXiv:1904.01355) on EfficientNet-lite0, made light, or a DETR-type checkpoint (Carion et al.
2020, arXiv:2005.12872). Run as `python3 -m repro_tui.tasks.object_detection`; docs/tasks/object_detection.md documents
it.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from repro_tui import wire
from repro_tui.tasks.common import coco, emit, loop, scenes, start, voc
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches
from repro_tui.tasks.common.boxes import Detections
from repro_tui.tasks.common.detr import Detr
from repro_tui.tasks.common.fcos import Fcos
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train", "test")
FORMATS = ("voc",)
CHECKPOINT = "needed"
METRICS = ("map", "ap50", "ap75")
OUTPUTS = ("weights", "config", "predictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(loop.Settings):
    """Hyperparameters of the task besides the loop's."""

    architecture: Literal["fcos-efficientnet-lite0", "detr"] = "fcos-efficientnet-lite0"
    """FCOS on EfficientNet-lite0 (task.model holds the backbone's weights), or a whole DETR-type checkpoint."""
    image_size: Annotated[int, Ge(32)] | None = None
    """Pictures are scaled down until their longer side has so many pixels. Their own size without it."""
    flip: bool = False
    """Mirror every other training picture, by chance, from left to right."""
    flip_vertical: bool = False
    """The same from top to bottom, where a scene has no up and down."""
    head_channels: Annotated[int, Ge(8)] = 128
    """Channels of FCOS's pyramid and heads, a multiple of 8; 256 in the paper."""
    head_depth: Annotated[int, Ge(1)] = 2
    """Convolutions of each of FCOS's two towers; 4 in the paper."""
    score_threshold: Annotated[float, Ge(0), Lt(1)] = 0.05
    """FCOS reports what it is surer of than this."""
    nms_iou: Annotated[float, Gt(0), Lt(1)] = 0.6
    """Of FCOS's boxes of one class that overlap more than this (intersection over union) the surest is kept."""
    max_detections: Annotated[int, Ge(1)] = 100
    """Detections a picture that are kept, the surest ones; COCO's metrics look at a hundred."""


def main(job: Job) -> None:
    """Read, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    splits = voc.load(job.splits, longest=settings.image_size)
    train = splits["train"]
    classes = voc.classes_of(train)
    model = build(job, settings, classes)
    model.to(device, memory_format=torch.channels_last)
    chances = scenes.Chances(len(train), events=2, seed=job.data_seed)

    def batches(epoch: int) -> list[Batch]:
        chances.begin(epoch)
        return training_batches(
            [1] * len(train), settings.train_batch_size, seed=job.data_seed, epoch=epoch, grouped=False
        )

    def collate(batch: Batch) -> dict[str, Tensor]:
        """Return pictures and objects, each picture mirrored by its own chance: see `prepared` and `targets`."""
        shown, boxes = [], []
        for index, drawn in zip(batch, chances.of(batch).tolist(), strict=True):
            pixels, found = train[index].pixels, scaled_boxes(train[index])
            for axis, wanted in ((2, settings.flip), (1, settings.flip_vertical)):
                if wanted and drawn[axis - 1] < 0.5:
                    pixels, found = pixels.flip(axis), mirrored(found, axis, pixels.shape[axis])
            shown.append(pixels)
            boxes.append(found)
        return prepared(model, shown) | targets(boxes, [train[index] for index in batch], classes)

    def evaluate(name: str) -> tuple[list[dict[str, Any]], coco.Scores]:
        """Return the detections of a split in COCO's form, in its order, and their average precision."""
        found: dict[int, Detections] = {}
        for batch, output in loop.predict(
            model,
            evaluation_batches([1] * len(splits[name]), settings.eval_batch_size),
            lambda batch: prepared(model, [splits[name][index].pixels for index in batch]),
            precision=settings.precision,
        ):
            found.update(zip(batch, output, strict=True))
        return measured(splits[name], found, classes, most=settings.max_detections)

    def validate(step: int) -> Mapping[str, float]:
        values = evaluate("validation")[1].values
        emit.metrics(values, split="validation", step=step)
        return values

    emit.phase("train")
    checkpoint = loop.train(
        model, settings, batches=batches, collate=collate, loss=lambda model, inputs: model.loss(inputs),
        evaluate=validate if "validation" in splits else None,
    )  # fmt: skip
    emit.weights(model, job.out)
    description = {"architecture": settings.architecture, "classes": classes, "image_size": settings.image_size}
    (job.out / "config.json").write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    emit.output("config", job.out / "config.json", job.out)

    emit.phase("evaluate")
    if checkpoint is not None:
        wire.emit("note", text=f"the weights are those after step {checkpoint.step}")
        emit.metrics(checkpoint.metrics, split="validation")
    results, scores = evaluate("test")
    emit.metrics(scores.values, split="test")
    for name, values in scores.per_class.items():
        for metric, value in values.items():
            wire.emit("metric", name=metric, value=value, split="test", **{"class": name})
    objects = Counter(label for scene in splits["test"] for label in scene.labels)
    rows: list[list[str | float]] = [
        [name, *values.values(), objects[name]] for name, values in scores.per_class.items()
    ]
    emit.table("per_class", ["class", *scores.values, "objects"], rows)
    path = job.out / "predictions.json"
    path.write_text("[\n" + ",\n".join(json.dumps(result) for result in results) + "\n]\n", encoding="utf-8")
    emit.output("predictions", path, job.out)


def build(job: Job, settings: Settings, classes: list[str]) -> Fcos | Detr:
    """Return the detector with the checkpoint's weights; raises TaskError for one of another kind."""
    if settings.architecture == "detr":
        return Detr(job.checkpoint, classes)
    if settings.head_channels % 8:
        raise TaskError(f"head_channels is {settings.head_channels}", "Take a multiple of 8")
    model = Fcos(
        len(classes), channels=settings.head_channels, depth=settings.head_depth,
        score_threshold=settings.score_threshold, nms_iou=settings.nms_iou, most=settings.max_detections,
    )  # fmt: skip
    model.pyramid.load(job.checkpoint)
    return model


def prepared(model: Fcos | Detr, pictures: list[Tensor]) -> dict[str, Tensor]:
    """Return pixels (B, 3, H, W) as the model wants them, and heights and widths (B, 2) of the pictures within."""
    sizes = torch.tensor([picture.shape[1:] for picture in pictures], dtype=torch.float32)
    return {"pixels": scenes.batched(pictures, model.scale, model.multiple), "sizes": sizes}


def scaled_boxes(scene: voc.Scene) -> Tensor:
    """Return the boxes (M, 4) in pixels of the scaled picture."""
    factor = torch.tensor([scene.pixels.shape[2] / scene.size[1], scene.pixels.shape[1] / scene.size[0]])
    return scene.boxes * factor.repeat(2)


def mirrored(boxes: Tensor, axis: int, side: int) -> Tensor:
    """Return boxes (M, 4) in a picture (3, H, W) that was mirrored along an axis with so many pixels."""
    begin, end = (0, 2) if axis == 2 else (1, 3)
    changed = boxes.clone()
    changed[:, begin], changed[:, end] = side - boxes[:, end], side - boxes[:, begin]
    return changed


def targets(boxes: list[Tensor], pictures: list[voc.Scene], classes: list[str]) -> dict[str, Tensor]:
    """Return boxes (B, M, 4) and the numbers of their classes (B, M), -1 for difficult objects and for padding."""
    most = max(1, *(len(found) for found in boxes))
    padded, numbers = torch.zeros(len(boxes), most, 4), torch.full((len(boxes), most), -1)
    for row, (found, scene) in enumerate(zip(boxes, pictures, strict=True)):
        padded[row, : len(found)] = found
        for column, (label, difficult) in enumerate(zip(scene.labels, scene.difficult, strict=True)):
            numbers[row, column] = -1 if difficult else classes.index(label)
    return {"boxes": padded, "classes": numbers}


def measured(
    split: list[voc.Scene], found: Mapping[int, Detections], classes: list[str], *, most: int
) -> tuple[list[dict[str, Any]], coco.Scores]:
    """Return detections in COCO's form and their average precision; images and classes are numbered from 1.

    What is measured is what is written, rounded as that is. An object of a class that training does not know counts:
    it cannot be found.
    """
    names = [*classes, *sorted({label for scene in split for label in scene.labels} - set(classes))]
    results, objects = [], []
    for index, scene in enumerate(split):
        image = index + 1
        factor = torch.tensor([scene.size[1] / scene.pixels.shape[2], scene.size[0] / scene.pixels.shape[1]])
        boxes = (found[index].boxes.cpu() * factor.repeat(2)).tolist()
        certain = zip(found[index].classes.tolist(), boxes, found[index].scores.tolist(), strict=True)
        results += [coco.result(image, number + 1, box, score) for number, box, score in list(certain)[:most]]
        objects += [
            coco.truth(image, names.index(label) + 1, box, left_out=difficult)
            for label, box, difficult in zip(scene.labels, scene.boxes.tolist(), scene.difficult, strict=True)
        ]
    numbered = dict(enumerate(names, 1))
    return results, coco.average_precision(range(1, len(split) + 1), objects, results, numbered)


if __name__ == "__main__":
    sys.exit(run(main))
