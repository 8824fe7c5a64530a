"""Give every pixel of a picture a class.

A light Panoptic FPN (Kirillov et al. 2019, arXiv:1901.02446) on EfficientNet-lite0, or a SegFormer-type checkpoint (Xie
et al. 2021, arXiv:2105.15203). Run as `python3 -m repro_tui.tasks.semantic_segmentation`;
docs/tasks/semantic_segmentation.md documents it.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Lt
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from repro_tui import wire
from repro_tui.tasks.common import emit, loop, masks, scenes, start
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches
from repro_tui.tasks.common.job import Job, TaskError, run
from repro_tui.tasks.common.masks import VOID
from repro_tui.tasks.common.segmenters import Checkpoint, PanopticFpn

SPLITS = ("train", "test")
FORMATS = ("image-masks",)
CHECKPOINT = "needed"
METRICS = ("mean_iou", "pixel_accuracy", "mean_accuracy")
OUTPUTS = ("weights", "config", "predictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(loop.Settings):
    """Hyperparameters of the task besides the loop's."""

    class_names: tuple[str, ...]
    """Names of the classes by their number in the masks, from 0."""
    void_ids: tuple[int, ...] = ()
    """Numbers of the masks that are no class: such pixels are neither trained on nor measured."""
    architecture: Literal["fpn-efficientnet-lite0", "segformer"] = "fpn-efficientnet-lite0"
    """Panoptic FPN on EfficientNet-lite0 (task.model holds the backbone's weights), or a SegFormer-type checkpoint."""
    image_size: Annotated[int, Ge(32)] | None = None
    """Pictures go in scaled down until their longer side has so many pixels; masks keep theirs. Not scaled without."""
    flip: bool = False
    """Mirror every other training picture, by chance, from left to right."""
    decoder_channels: Annotated[int, Ge(8)] = 64
    """Channels of the pyramid and its decoder, a multiple of 8; 256 and 128 in the paper."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Before the decoder's classifier: a probability."""
    class_weighting: Literal["none", "median-frequency"] = "none"
    """Weigh classes in the loss by median frequency over their own, as SegNet's authors did (arXiv:1511.00561)."""


def main(job: Job) -> None:
    """Read, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    classes = list(settings.class_names)
    splits = masks.load(job.splits, longest=settings.image_size, classes=classes, void=settings.void_ids)
    train = splits["train"]
    model = build(job, settings, classes)
    model.to(device, memory_format=torch.channels_last)
    weights = class_weights(train, len(classes)) if settings.class_weighting != "none" else None
    weights = weights if weights is None else weights.to(device)
    chances = scenes.Chances(len(train), events=1, seed=job.data_seed)

    def batches(epoch: int) -> list[Batch]:
        chances.begin(epoch)
        return training_batches(
            [1] * len(train), settings.train_batch_size, seed=job.data_seed, epoch=epoch, grouped=False
        )

    def collate(batch: Batch) -> dict[str, Tensor]:
        """Return pictures (B, 3, H, W) and masks (B, H, W) of the same size, mirrored by each picture's chance."""
        drawn = chances.of(batch)[:, 0].tolist()
        pairs = [(train[index].pixels, train[index].mask) for index in batch]
        if settings.flip:
            pairs = [
                (pixels.flip(2), mask.flip(1)) if chance < 0.5 else (pixels, mask)
                for (pixels, mask), chance in zip(pairs, drawn, strict=True)
            ]
        pixels = scenes.batched([pixels for pixels, _ in pairs], model.scale, model.multiple)
        labels = torch.full((len(batch), *pixels.shape[2:]), VOID)
        for place, (picture, mask) in zip(labels, pairs, strict=True):
            height, width = picture.shape[1:]
            place[:height, :width] = nearest(mask, height, width)
        return {"pixels": pixels, "labels": labels}

    def loss(model: Any, inputs: loop.Inputs) -> Tensor:
        """Return the loss () at the size of the pictures that went in."""
        logits = model(inputs["pixels"]).float()
        logits = interpolate(logits, size=inputs["labels"].shape[1:], mode="bilinear", align_corners=False)
        return pixel_loss(logits, inputs["labels"], weights)

    def evaluate(name: str) -> tuple[list[Tensor], Tensor]:
        """Return the predicted masks of a split, as large as published, and pixels by true and predicted class."""
        split = splits[name]
        predicted: dict[int, Tensor] = {}
        for batch, logits in loop.predict(
            model,
            evaluation_batches([1] * len(split), settings.eval_batch_size),
            lambda batch: {
                "pixels": scenes.batched([split[index].pixels for index in batch], model.scale, model.multiple)
            },
            precision=settings.precision,
        ):
            found = full_size(logits.float().cpu(), [split[index] for index in batch], model.multiple)
            predicted |= zip(batch, found, strict=True)
        counts = torch.zeros(len(classes), len(classes), dtype=torch.int64)
        for index, scene in enumerate(split):
            counts += confusion(scene.mask, predicted[index], len(classes))
        return [predicted[index] for index in range(len(split))], counts

    def validate(step: int) -> Mapping[str, float]:
        values = measured(evaluate("validation")[1])[0]
        emit.metrics(values, split="validation", step=step)
        return values

    emit.phase("train")
    checkpoint = loop.train(
        model, settings, batches=batches, collate=collate, loss=loss,
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
    predicted, counts = evaluate("test")
    values, ious = measured(counts)
    emit.metrics(values, split="test")
    for name, iou in zip(classes, ious, strict=True):
        wire.emit("metric", name="iou", value=iou, split="test", **{"class": name})
    rows: list[list[str | float]] = [[name, *row] for name, row in zip(classes, counts.tolist(), strict=True)]
    emit.table("confusion_matrix", ["true class", *classes], rows)
    write_masks(job, [scene.name for scene in splits["test"]], predicted)


def build(job: Job, settings: Settings, classes: list[str]) -> PanopticFpn | Checkpoint:
    """Return the network with the checkpoint's weights; raises TaskError for one of another kind."""
    if settings.architecture == "segformer":
        return Checkpoint(job.checkpoint, classes)
    if settings.decoder_channels % 8:
        raise TaskError(f"decoder_channels is {settings.decoder_channels}", "Take a multiple of 8")
    model = PanopticFpn(len(classes), channels=settings.decoder_channels, dropout=settings.dropout)
    model.pyramid.load(job.checkpoint)
    return model


def nearest(mask: Tensor, height: int, width: int) -> Tensor:
    """Return a mask (H', W') at another size (H, W), each place with the number nearest to its middle."""
    return interpolate(mask[None, None].float(), size=(height, width), mode="nearest-exact")[0, 0].long()


def pixel_loss(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean cross-entropy () of the pixels with a class, 0 where none has one.

    It is of logits (B, classes, H, W) for labels (B, H, W), each pixel with its class's weight (classes,).
    """
    if logits.is_cuda:  # whose kernel for pictures adds in no fixed order, the one for rows in a fixed one
        logits, labels = logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten()
    reduction = "mean" if (labels != VOID).any() else "sum"
    return cross_entropy(logits, labels, weight=weights, ignore_index=VOID, reduction=reduction)


def full_size(logits: Tensor, batch: Sequence[masks.Scene], multiple: int) -> list[Tensor]:
    """Return the predicted masks (H', W') of a batch's logits (B, classes, h, w), each as large as published.

    The logits are brought to the size of what went in, the batch's largest height and width rounded up to `multiple`,
    the padding is cut off, and the rest brought to full size, both by bilinear interpolation; then the best class of
    each pixel is taken.
    """
    tallest = max(scene.pixels.shape[1] for scene in batch)
    stride = -(-tallest // multiple) * multiple // logits.shape[2]
    found = []
    for each, scene in zip(logits, batch, strict=True):
        height, width = scene.pixels.shape[1:]
        padded = interpolate(each[None], scale_factor=stride, mode="bilinear", align_corners=False)
        full = interpolate(padded[..., :height, :width], size=scene.mask.shape, mode="bilinear", align_corners=False)
        found.append(full[0].argmax(dim=0).to(torch.uint8))
    return found


def confusion(true: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Return the number of pixels by true and predicted class (classes, classes) of masks (H, W), void ones aside."""
    there = true != VOID
    pairs = true[there].long() * classes + predicted[there].long()
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def class_weights(train: list[masks.Scene], classes: int) -> Tensor:
    """Return median frequency over frequency of each class (classes,); 0 for one that is in no picture.

    A class's frequency is its share of the pixels with a class in the pictures that have it (Eigen & Fergus 2015,
    arXiv:1411.4734).
    """
    counts = torch.stack([torch.bincount(scene.mask[scene.mask != VOID], minlength=classes) for scene in train])
    present = counts > 0
    frequency = counts.sum(dim=0).double() / (counts.sum(dim=1, keepdim=True) * present).sum(dim=0).clamp(min=1)
    there = frequency > 0
    return torch.where(there, frequency[there].median() / frequency.clamp(min=1e-12), 0.0).float()


def measured(counts: Tensor) -> tuple[dict[str, float], list[float]]:
    """Return the metrics and each class's intersection over union of pixel counts (true class, predicted class).

    Means are over the classes that some pixel truly is or is taken for; of another the IoU is no number.
    """
    right, true, taken = counts.diagonal().double(), counts.sum(dim=1).double(), counts.sum(dim=0).double()
    ious = right / (true + taken - right)
    values = {
        "mean_iou": ious.nanmean().item(),
        "pixel_accuracy": (right.sum() / true.sum()).item(),
        "mean_accuracy": (right / true).nanmean().item(),
    }
    return values, ious.tolist()


def write_masks(job: Job, names: list[str], predicted: list[Tensor]) -> None:
    """Write predictions.npz: the predicted mask of each picture, an array of bytes by its name.

    It is written as NumPy's savez_compressed does, which takes no array of the name "file".
    """
    path = job.out / "predictions.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, mask in zip(names, predicted, strict=True):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, mask.numpy())
    emit.output("predictions", path, job.out)


if __name__ == "__main__":
    sys.exit(run(main))
