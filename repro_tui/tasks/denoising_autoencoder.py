"""Pretrain an encoder on pictures without their classes: it has to undo noise.

Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders" (ICML, section 2.3), here
with convolutions. image_classification takes its encoder. docs/tasks/denoising_autoencoder.md documents the job.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn.functional import mse_loss, relu

from repro_tui import wire
from repro_tui.tasks.common import backbones, emit, images, loop, start
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train", "test")
FORMATS = ("idx", "image-folder")
CHECKPOINT = "none"
METRICS = ("mse", "mse_of_corrupted", "mse_of_mean_picture")
OUTPUTS = ("weights", "config", "samples")

SHOWN = 16
"""Test pictures in the output `samples`: a row as they are, one corrupted, one reconstructed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(loop.Settings):
    """Hyperparameters of the task besides the loop's."""

    noise: Literal["gaussian", "masking"] = "masking"
    """Added to each pixel, or pixels set to 0."""
    noise_level: Annotated[float, Gt(0)] = 0.25
    """Standard deviation of gaussian noise, where pixels go from 0 to 1; part of the pixels that masking sets to 0."""
    width: Annotated[int, Ge(1)] = 32
    """Channels of the encoder's first layer; they double twice."""
    image_size: Annotated[int, Ge(8)] | None = None
    """Side in pixels that pictures of a folder are scaled and cut to. Their own size without it."""


class Autoencoder(nn.Module):
    """The encoder, and as many transposed convolutions that take its code back to a picture; a sigmoid ends it."""

    def __init__(self, channels: int, side: int, base: int) -> None:
        super().__init__()
        self.backbone = backbones.ConvEncoder(channels, side, base)
        sizes = (4 * base, 2 * base, base, channels)
        self.convolutions = backbones.doubling(sizes, side)
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in sizes[1:-1])

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the reconstruction of pictures from 0 to 1 (B, C, H, W), of the same shape and range."""
        code = self.backbone.code(pixels)
        for convolution, norm in zip(self.convolutions, self.norms, strict=False):
            code = relu(norm(convolution(code)))
        return torch.sigmoid(self.convolutions[-1](code))


def main(job: Job) -> None:
    """Read, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    if settings.noise == "masking" and settings.noise_level >= 1:
        raise TaskError(f"noise_level is {settings.noise_level}: masking would leave nothing", "Choose one below 1")
    splits = {name: split.pixels for name, split in images.load(job.splits, size=settings.image_size).items()}
    train = splits["train"]
    shape = tuple(train.shape[1:])
    if shape[1] != shape[2]:
        raise TaskError(f"the pictures are {shape[2]}x{shape[1]}, the task takes squares", "Set image_size")
    model = Autoencoder(shape[0], shape[1], settings.width)
    model.to(device, memory_format=torch.channels_last)
    generator = torch.Generator()

    def batches(epoch: int) -> list[Batch]:
        generator.manual_seed((job.data_seed + epoch) % 2**63)
        return training_batches(
            [1] * len(train), settings.train_batch_size, seed=job.data_seed, epoch=epoch, grouped=False
        )

    def collate(batch: Batch) -> dict[str, Tensor]:
        """Return pictures from 0 to 1 and what noise makes of them (B, C, H, W)."""
        clean = images.scaled(train[batch], [0.0], [255.0])
        return {"clean": clean, "pixels": corrupt(clean, settings.noise, settings.noise_level, generator)}

    def loss(model: Any, inputs: loop.Inputs) -> Tensor:
        return mse_loss(model(inputs["pixels"]), inputs["clean"])

    def evaluate(name: str) -> tuple[dict[str, float], Tensor]:
        """Return the metrics of a split and (corrupted, reconstructed) of its first pictures (2, SHOWN, C, H, W)."""
        pixels = splits[name]
        clean = images.scaled(pixels, [0.0], [255.0])
        same = torch.Generator().manual_seed(job.seed)  # the same noise in every evaluation
        corrupted, rebuilt = corrupt(clean, settings.noise, settings.noise_level, same), torch.empty_like(clean)
        for batch, output in loop.predict(
            model,
            evaluation_batches([1] * len(pixels), settings.eval_batch_size),
            lambda batch: {"pixels": corrupted[batch]},
            precision=settings.precision,
        ):
            rebuilt[batch] = output.float().cpu()
        mean_picture = train.double().mean(dim=0).float() / 255.0
        values = {
            "mse": mse_loss(rebuilt, clean).item(),
            "mse_of_corrupted": mse_loss(corrupted, clean).item(),
            "mse_of_mean_picture": mse_loss(mean_picture.expand_as(clean), clean).item(),
        }
        return values, torch.stack([corrupted[:SHOWN], rebuilt[:SHOWN]])

    def validate(step: int) -> Mapping[str, float]:
        values, _ = evaluate("validation")
        emit.metrics(values, split="validation", step=step)
        return values

    emit.phase("train")
    checkpoint = loop.train(
        model, settings, batches=batches, collate=collate, loss=loss,
        evaluate=validate if "validation" in splits else None,
    )  # fmt: skip
    emit.weights(model, job.out)
    description = backbones.describe("conv-encoder", shape, settings.width)
    emit.output("config", backbones.save_config(job.out, description), job.out)

    emit.phase("evaluate")
    if checkpoint is not None:
        wire.emit("note", text=f"the weights are those after step {checkpoint.step}")
        emit.metrics(checkpoint.metrics, split="validation")
    values, (corrupted, rebuilt) = evaluate("test")
    emit.metrics(values, split="test")
    rows = [splits["test"][:SHOWN], *(images.as_bytes(255.0 * pictures) for pictures in (corrupted, rebuilt))]
    emit.output("samples", images.save_grid(torch.cat(rows), len(rows[0]), job.out / "samples.png"), job.out)


def corrupt(pixels: Tensor, noise: str, level: float, generator: torch.Generator) -> Tensor:
    """Return pictures (B, C, H, W) with noise: normal of deviation `level`, or a part `level` of the pixels set to 0.

    All channels of a pixel are masked together.
    """
    if noise == "gaussian":
        return pixels + level * torch.randn(pixels.shape, generator=generator)
    kept = torch.rand(pixels.shape[0], 1, *pixels.shape[2:], generator=generator) >= level
    return pixels * kept


if __name__ == "__main__":
    sys.exit(run(main))
