"""Pretrain a discriminator on pictures without their classes: it has to tell them from a generator's.

Goodfellow et al. 2014, "Generative adversarial nets" (arXiv:1406.2661, algorithm 1, the generator's loss as section 3
advises), with the networks of DCGAN (Radford et al. 2016, arXiv:1511.06434, section 3). image_classification takes the
discriminator. docs/tasks/adversarial_pretraining.md documents the job.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, relu

from repro_tui import wire
from repro_tui.tasks.common import backbones, emit, images, loop, start
from repro_tui.tasks.common.batches import evaluation_batches, training_batches
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train", "test")
FORMATS = ("idx", "image-folder")
CHECKPOINT = "none"
METRICS = ("real_judged_real", "generated_judged_real")
OUTPUTS = ("weights", "config", "samples")

SHOWN = 64
"""Generated pictures in the output `samples`, eight a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hyperparameters of the task; it has a loop of its own."""

    learning_rate: Annotated[float, Gt(0)] = 2e-4
    """Of both networks, all the way."""
    adam_beta1: Annotated[float, Ge(0), Lt(1)] = 0.5
    """Decay of the running mean of gradients."""
    adam_beta2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """Decay of the running mean of squared gradients."""
    epochs: Annotated[int, Ge(1)] = 3
    """Passes over the training split."""
    max_steps: Annotated[int, Ge(1)] | None = None
    """Stop after so many steps, of both networks each. No limit without it."""
    train_batch_size: Annotated[int, Ge(2)] = 128
    """Real pictures a step, and as many generated ones."""
    eval_batch_size: Annotated[int, Ge(1)] = 256
    """Pictures a forward pass in evaluation."""
    latent: Annotated[int, Ge(1)] = 64
    """Numbers that a picture is generated from, each normal."""
    width: Annotated[int, Ge(1)] = 32
    """Channels of the discriminator's first layer, which double twice, and of the generator's last but one."""
    image_size: Annotated[int, Ge(8)] | None = None
    """Side in pixels that pictures of a folder are scaled and cut to. Their own size without it."""


class Generator(nn.Module):
    """The discriminator backwards: a linear layer, transposed convolutions, batch norm and ReLU before each; tanh."""

    def __init__(self, latent: int, channels: int, side: int, base: int) -> None:
        super().__init__()
        sizes = (4 * base, 2 * base, base, channels)
        start = backbones.halved(side, 3)
        self.shape = (sizes[0], start, start)
        self.linear = nn.Linear(latent, math.prod(self.shape), bias=False)
        self.convolutions = backbones.doubling(sizes, side)
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in sizes[:-1])
        for module in (self.linear, *self.convolutions):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, latent: Tensor) -> Tensor:
        """Return pictures from -1 to 1 (B, C, H, W) for normal numbers (B, latent)."""
        maps = self.linear(latent).unflatten(1, self.shape)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            maps = convolution(relu(norm(maps)))
        return torch.tanh(maps)


class Adversaries(nn.Module):
    """Both networks, under the names that a checkpoint has them by."""

    def __init__(self, latent: int, channels: int, side: int, base: int) -> None:
        super().__init__()
        self.backbone = backbones.Discriminator(channels, side, base)
        self.generator = Generator(latent, channels, side, base)


def main(job: Job) -> None:
    """Read, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    splits = {name: split.pixels for name, split in images.load(job.splits, size=settings.image_size).items()}
    channels, height, width = splits["train"].shape[1:]
    if height != width:
        raise TaskError(f"the pictures are {width}x{height}, the task takes squares", "Set image_size")
    if len(splits["train"]) < settings.train_batch_size:
        raise TaskError(
            f"splits.train has {len(splits['train'])} pictures, a batch {settings.train_batch_size}",
            "Lower train_batch_size",
        )
    model = Adversaries(settings.latent, channels, height, settings.width)
    model.to(device, memory_format=torch.channels_last)

    emit.phase("train")
    train(model, settings, splits["train"], seed=job.data_seed)
    emit.weights(model, job.out)
    description = backbones.describe("dcgan-discriminator", (channels, height, width), settings.width)
    emit.output("config", backbones.save_config(job.out, description), job.out)

    emit.phase("evaluate")
    model.eval()
    test = splits["test"]
    noise = torch.randn(len(test), settings.latent, generator=torch.Generator().manual_seed(job.seed))
    real, generated = torch.empty(len(test)), torch.empty(len(test))
    made = torch.empty(test.shape)
    with torch.inference_mode():
        for batch in evaluation_batches([1] * len(test), settings.eval_batch_size):
            pictures = model.generator(noise[batch].to(device))
            made[batch] = pictures.cpu()
            generated[batch] = model.backbone.judge(pictures).cpu()
            real[batch] = model.backbone.judge(prepared(test[batch]).to(device)).cpu()
    values = {
        "real_judged_real": (real > 0).float().mean().item(),
        "generated_judged_real": (generated > 0).float().mean().item(),
    }
    emit.metrics(values, split="test")
    sheet = images.as_bytes(made[:SHOWN] * 127.5 + 127.5)
    emit.output("samples", images.save_grid(sheet, 8, job.out / "samples.png"), job.out)


def train(model: Adversaries, settings: Settings, pixels: Tensor, *, seed: int) -> None:
    """Take steps of both networks in turn over real pictures, bytes (N, C, H, W); raises TaskError where they diverge.

    Batches are whole: the rest of an epoch is left out, since both networks norm over a batch.
    """
    device = next(model.parameters()).device
    adam = loop.Settings(
        learning_rate=settings.learning_rate, adam_beta1=settings.adam_beta1, adam_beta2=settings.adam_beta2
    )
    discriminator, generator = model.backbone, model.generator
    discriminator_step, generator_step = (loop.make_optimizer(each, adam) for each in (discriminator, generator))
    size = settings.train_batch_size
    per_epoch = len(pixels) // size
    total = min(settings.epochs * per_epoch, settings.max_steps or sys.maxsize)
    draws = torch.Generator().manual_seed(seed)
    yes, no = torch.ones(size, device=device), torch.zeros(size, device=device)
    model.train()
    batches = (
        batch
        for epoch in range(settings.epochs)
        for batch in training_batches([1] * len(pixels), size, seed=seed, epoch=epoch, grouped=False)[:per_epoch]
    )
    for step, batch in enumerate(islice(batches, total), 1):
        started = time.perf_counter()
        real = prepared(pixels[batch]).to(device)
        generated = generator(torch.randn(size, settings.latent, generator=draws).to(device))

        discriminator_step.zero_grad()
        loss = binary_cross_entropy_with_logits(discriminator.judge(real), yes)
        loss = loss + binary_cross_entropy_with_logits(discriminator.judge(generated.detach()), no)
        loss.backward()
        discriminator_step.step()

        generator_step.zero_grad()
        # Its gradient is large where the discriminator is right, which that of log(1 - D) is not.
        generator_loss = binary_cross_entropy_with_logits(discriminator.judge(generated), yes)
        generator_loss.backward()
        generator_step.step()

        wire.emit(
            "step", step=step, total=total, loss=loss.item(), generator_loss=generator_loss.item(),
            learning_rate=settings.learning_rate, epoch=round(step / per_epoch, 4),
            examples_per_s=round(size / (time.perf_counter() - started), 2),
        )  # fmt: skip
        if not math.isfinite(loss.item() + generator_loss.item()):
            raise TaskError(f"the training loss is not finite at step {step} of {total}", "Lower learning_rate")


def prepared(pixels: Tensor) -> Tensor:
    """Return bytes (B, C, H, W) as numbers from -1 to 1."""
    mean, deviation = backbones.Discriminator.scale
    return images.scaled(pixels, [mean], [deviation])


if __name__ == "__main__":
    sys.exit(run(main))
