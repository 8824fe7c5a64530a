"""Train a network on pictures with one class each, from scratch or from a checkpoint with a new head.

He et al. 2016, "Deep residual learning" (arXiv:1512.03385), for ResNet-18 and the augmentation; Tan & Le 2019
(arXiv:1905.11946) for EfficientNet. docs/tasks/image_classification.md documents the job.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Lt
from sklearn.metrics import top_k_accuracy_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from repro_tui import wire
from repro_tui.tasks.common import backbones, emit, images, loop, metrics, start
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train", "test")
FORMATS = ("idx", "image-folder")
CHECKPOINT = "optional"
METRICS = ("accuracy", "top5_accuracy", "macro_precision", "macro_recall", "macro_f1", "loss")
OUTPUTS = ("weights", "config", "predictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(loop.Settings):
    """Hyperparameters of the task besides the loop's."""

    architecture: Literal["resnet18", "efficientnet-lite0", "conv-encoder", "dcgan-discriminator"] = "resnet18"
    """The network; the last two are those of `denoising_autoencoder` and `adversarial_pretraining`."""
    width: Annotated[int, Ge(1)] | None = None
    """Channels of the first stage, where the network has a choice: 64 in ResNet-18, 32 in the small ones without it."""
    freeze: bool = False
    """Train the new head only and leave the network as it is, its batch norms' statistics too."""
    freeze_statistics: bool = False
    """Batch norms keep the checkpoint's means and variances in training, which few steps cannot replace by new ones."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Of the representation that the head sees: a probability."""
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Part of the target's probability that is spread over all classes, in training."""
    image_size: Annotated[int, Ge(8)] | None = None
    """Side in pixels that pictures of a folder are scaled and cut to. Their own size without it."""
    class_names: tuple[str, ...] = ()
    """Names of the classes by number, where the files hold numbers only."""
    only_classes: tuple[str, ...] = ()
    """Classes that are kept when a split is read, before anything is counted or drawn; all without it."""
    crop_padding: Annotated[int, Ge(0)] = 0
    """Training pictures are padded by so many pixels a side, and cut back at a random place."""
    flip: bool = False
    """Mirror every other training picture, by chance, from left to right."""


class Classifier(nn.Module):
    """A network and a new linear head."""

    def __init__(self, backbone: backbones.Backbone, classes: int, settings: Settings) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(backbone.width, classes)
        self.norms_stay = settings.freeze or settings.freeze_statistics
        backbone.requires_grad_(not settings.freeze)

    def train(self, mode: bool = True) -> Classifier:
        """Set the mode; batch norms whose statistics stay are always as in evaluation."""
        super().train(mode)
        for module in self.backbone.modules():
            if self.norms_stay and isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits (B, classes) of (B, C, H, W)."""
        logits: Tensor = self.head(self.dropout(self.backbone(pixels)))
        return logits


def main(job: Job) -> None:
    """Read, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    splits = images.load(job.splits, size=settings.image_size, names=settings.class_names, only=settings.only_classes)
    train = splits["train"]
    classes = images.classes_of(train, settings.class_names)
    numbers = {name: split.numbers(name, classes) for name, split in splits.items()}
    model, description = build(job, settings, tuple(train.pixels.shape[1:]), classes)
    model.to(device, memory_format=torch.channels_last)
    mean, deviation = scale_of(model.backbone, train)
    augmentation = images.Augmentation(
        len(train.labels), padding=settings.crop_padding, flip=settings.flip, seed=job.data_seed
    )

    def batches(epoch: int) -> list[Batch]:
        augmentation.begin(epoch)
        return training_batches(
            [1] * len(train.labels), settings.train_batch_size, seed=job.data_seed, epoch=epoch, grouped=False
        )

    def collate(batch: Batch) -> dict[str, Tensor]:
        """Return changed pictures (B, C, H, W) and their classes (B,)."""
        pixels = augmentation(train.pixels, batch)
        return {"pixels": images.scaled(pixels, mean, deviation), "labels": numbers["train"][batch]}

    def loss(model: Any, inputs: loop.Inputs) -> Tensor:
        return cross_entropy(model(inputs["pixels"]), inputs["labels"], label_smoothing=settings.label_smoothing)

    def evaluate(name: str) -> tuple[list[int], metrics.Classification]:
        """Return the predicted classes (N,) of a split and the metrics, the loss among them."""
        split = splits[name]
        logits = torch.empty(len(split.labels), len(classes))
        for batch, output in loop.predict(
            model,
            evaluation_batches([1] * len(split.labels), settings.eval_batch_size),
            lambda batch: {"pixels": images.scaled(split.pixels[batch], mean, deviation)},
            precision=settings.precision,
        ):
            logits[batch] = output.float().cpu()
        return measured(logits, numbers[name], classes)

    def validate(step: int) -> Mapping[str, float]:
        values = evaluate("validation")[1].values
        emit.metrics(values, split="validation", step=step)
        return values

    emit.phase("train")
    checkpoint = loop.train(
        model, settings, batches=batches, collate=collate, loss=loss,
        evaluate=validate if "validation" in splits else None,
    )  # fmt: skip
    emit.weights(model, job.out)
    emit.output("config", backbones.save_config(job.out, {**description, "classes": classes}), job.out)

    emit.phase("evaluate")
    if checkpoint is not None:
        wire.emit("note", text=f"the weights are those after step {checkpoint.step}")
        emit.metrics(checkpoint.metrics, split="validation")
    predicted, found = evaluate("test")
    emit.metrics(found.values, split="test")
    for label, _, recall, *_ in found.per_class[1]:
        wire.emit("metric", name="accuracy", value=recall, split="test", **{"class": label})
    emit.table("per_class", *found.per_class)
    emit.table("confusion_matrix", *found.confusion)
    rows = ((i, splits["test"].labels[i], classes[number]) for i, number in enumerate(predicted))
    emit.predictions(("example", "label", "predicted"), rows, job.out)


def build(
    job: Job, settings: Settings, shape: tuple[int, ...], classes: list[str]
) -> tuple[Classifier, dict[str, Any]]:
    """Return the model for pictures of `shape` (C, H, W) and the network's description; raises TaskError."""
    backbone = backbones.build(settings.architecture, shape, settings.width)
    description = backbones.describe(settings.architecture, shape, settings.width)
    if job.model is not None:
        backbones.restore(backbone, description, job.model)
    elif settings.freeze or settings.freeze_statistics:
        key = "freeze" if settings.freeze else "freeze_statistics"
        raise TaskError(f"hyperparameters.{key} needs a checkpoint", "Set task.model, or train the whole network")
    return Classifier(backbone, len(classes), settings), description


def scale_of(backbone: backbones.Backbone, train: images.Pictures) -> tuple[list[float], list[float]]:
    """Return mean and deviation of each channel, by which the network wants its pixels scaled."""
    if backbone.scale is None:
        return images.statistics(train.pixels)
    mean, deviation = backbone.scale
    channels = train.pixels.shape[1]
    return [mean] * channels, [deviation] * channels


def measured(logits: Tensor, truth: Tensor, classes: list[str]) -> tuple[list[int], metrics.Classification]:
    """Return the predicted classes (N,) and the metrics of logits (N, classes) against classes (N,).

    The mean recall of all classes is the mean of their accuracies; "top5_accuracy" is there with six classes and more.
    """
    predicted = logits.argmax(dim=1).tolist()
    found = metrics.classification(truth.tolist(), predicted, classes, averaging="macro")
    if len(classes) > 5:
        found.values["top5_accuracy"] = float(
            top_k_accuracy_score(truth.numpy(), logits.numpy(), k=5, labels=range(len(classes)))
        )
    found.values["loss"] = cross_entropy(logits, truth).item()
    return predicted, found


if __name__ == "__main__":
    sys.exit(run(main))
