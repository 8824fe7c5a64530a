"""One training loop for every task, and prediction. A task brings batches, a collate function and a loss.

AdamW is Loshchilov & Hutter 2019 (arXiv:1711.05101); the cosine schedule Loshchilov & Hutter 2017 (arXiv:1608.03983);
clipping by the global norm Pascanu et al. 2013 (arXiv:1211.5063); mixed precision Micikevicius et al. 2018
(arXiv:1710.03740).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Lt

from repro_tui import wire
from repro_tui.tasks.common.batches import Batch
from repro_tui.tasks.common.job import TaskError

Inputs = Mapping[str, torch.Tensor]
"""What one forward pass is given: tensors (B, ...) by name."""

LOWER_IS_BETTER = frozenset({"loss", "mse", "perplexity", "bits_per_byte"})
"""Metrics whose lowest value is the best one; of all others it is the highest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The hyperparameters of the loop, which every task that trains with it has besides its own.

    The defaults belong to schema 1 of the manifest: one that leaves a key out goes on meaning the same.
    """

    learning_rate: Annotated[float, Gt(0)] = 5e-5
    """Highest learning rate, reached after the warm-up; a factor on the gradient step, without unit."""
    epochs: Annotated[int, Ge(1)] = 3
    """Passes over the training split."""
    max_steps: Annotated[int, Ge(1)] | None = None
    """Stop after so many optimizer steps, even within an epoch; the schedule ends there too. No limit without it."""
    train_batch_size: Annotated[int, Ge(1)] = 32
    """Training examples a forward pass."""
    gradient_accumulation_steps: Annotated[int, Ge(1)] = 1
    """Forward passes an optimizer step; the gradient is that of one batch that holds them all."""
    eval_batch_size: Annotated[int, Ge(1)] = 64
    """Examples a forward pass in evaluation."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW (decoupled weight decay), or SGD with Nesterov's momentum."""
    adam_beta1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Decay of AdamW's running mean of gradients."""
    adam_beta2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """Decay of AdamW's running mean of squared gradients."""
    adam_epsilon: Annotated[float, Gt(0)] = 1e-8
    """Term in AdamW's denominator."""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Of SGD; 0 for plain SGD."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    """Weight decay of matrices; biases and the scales of norms have none."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate goes after the warm-up: down to 0 in a line or half a cosine, or not at all."""
    warmup_ratio: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Part of all optimizer steps over which the learning rate rises from 0: a fraction, rounded up to whole steps."""
    max_grad_norm: Annotated[float, Ge(0)] = 1.0
    """All gradients together are clipped to this L2 norm; 0 for not at all."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Number format of forward and backward pass; weights are kept in fp32. tf32: fp32 with a GPU's TF32 products."""
    select_best_on: str | None = None
    """Keep the checkpoint with the best value of this metric on the validation split. The last one without it."""
    evaluate_every: Annotated[int, Ge(1)] | None = None
    """Optimizer steps between two evaluations on the validation split. Once an epoch without it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the model holds when `train` returns: the weights after `step`, with their metrics on validation."""

    step: int
    metrics: Mapping[str, float]


def train(
    model: Any,
    settings: Settings,
    *,
    batches: Callable[[int], Sequence[Batch]],
    collate: Callable[[Batch], Inputs],
    loss: Callable[[Any, Inputs], torch.Tensor],
    weigh: Callable[[Batch], int] = len,
    evaluate: Callable[[int], Mapping[str, float]] | None = None,
) -> Checkpoint | None:
    """Train `model` in place, one "step" event an optimizer step; return the checkpoint it ends with, if evaluated.

    `batches(epoch)` gives the epoch's micro-batches, the same number each epoch. `loss(model, inputs)` is the mean loss
    () over a micro-batch and `weigh(batch)` says over how many items (examples, tokens): accumulated micro-batches then
    give the gradient of one batch that holds them all. `evaluate(step)` gives metrics on the validation split by name.
    Raises TaskError for a loss that is not finite, and where there is nothing to train on.
    """
    device = next(model.parameters()).device
    epoch_batches = batches(0)
    if not epoch_batches:
        raise TaskError("splits.train has nothing to train on", "Check what it reads, and what is drawn from it")
    steps_per_epoch = math.ceil(len(epoch_batches) / settings.gradient_accumulation_steps)
    total = min(settings.epochs * steps_per_epoch, settings.max_steps or math.inf)
    warmup = math.ceil(settings.warmup_ratio * total)

    optimizer = make_optimizer(model, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: schedule_factor(settings.schedule, step, total=int(total), warmup=warmup)
    )
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
    keeper = _Keeper(settings.select_best_on, evaluate)

    step = 0
    for epoch in range(settings.epochs):
        if epoch > 0:
            epoch_batches = batches(epoch)
        for group in _groups(epoch_batches, settings.gradient_accumulation_steps):
            started = time.perf_counter()
            model.train()
            optimizer.zero_grad(set_to_none=True)
            items = sum(map(weigh, group))
            step_loss = 0.0
            for batch in group:
                inputs = _to(device, collate(batch))
                with autocast(device, settings.precision):
                    share = loss(model, inputs) * (weigh(batch) / items)
                scaler.scale(share).backward()
                step_loss += share.item()
            scaler.unscale_(optimizer)
            if settings.max_grad_norm > 0:
                torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            learning_rate = schedule.get_last_lr()[0]
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            step += 1
            wire.emit(
                "step",
                step=step,
                total=int(total),
                loss=step_loss,
                learning_rate=learning_rate,
                examples_per_s=round(sum(map(len, group)) / (time.perf_counter() - started), 2),
                epoch=round(step / steps_per_epoch, 4),
            )
            if not math.isfinite(step_loss):
                raise TaskError(
                    f"the training loss is {step_loss} at step {step} of {int(total)}",
                    "Lower hyperparameters.learning_rate, clip with max_grad_norm, or train in fp32",
                )
            last = step == total
            at_epoch_end = settings.evaluate_every is None and step % steps_per_epoch == 0
            if last or at_epoch_end or (settings.evaluate_every is not None and step % settings.evaluate_every == 0):
                keeper.consider(model, step)
            if last:
                return keeper.restore(model)
    return keeper.restore(model)


def predict(
    model: Any, batches: Sequence[Batch], collate: Callable[[Batch], Inputs], *, precision: str
) -> Iterator[tuple[Batch, Any]]:
    """Yield (batch, the model's output for it) without gradients and without dropout."""
    device = next(model.parameters()).device
    model.eval()
    for batch in batches:
        with torch.inference_mode(), autocast(device, precision):
            yield batch, model(**_to(device, collate(batch)))


def make_optimizer(model: Any, settings: Settings) -> torch.optim.Optimizer:
    """Return the optimizer over the trainable parameters; vectors (biases, norms' scales) do not decay, others do."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.momentum > 0,
            fused=True,
        )
    return torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        fused=True,
    )


def schedule_factor(kind: str, step: int, *, total: int, warmup: int) -> float:
    """Return the factor on the learning rate of optimizer step `step` (from 0) of `total`.

    It rises in a line over the first `warmup` steps and then falls to 0, in a line or half a cosine, or stays.
    """
    if step < warmup:
        return step / warmup
    if kind == "constant":
        return 1.0
    progress = (step - warmup) / max(1, total - warmup)
    return 1.0 - progress if kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return the context of a forward pass: fp32 and tf32 as they are, else torch's autocast to the type of that name.

    Raises TaskError where the device does not have the type.
    """
    if precision == "fp32":
        return nullcontext()
    if precision == "tf32":
        if device.type != "cuda":
            raise TaskError("hyperparameters.precision: tf32 needs a GPU", 'Use "fp32"')
        return nullcontext()  # determinism.configure allowed it
    if device.type == "cpu" and precision == "fp16":
        raise TaskError("hyperparameters.precision: fp16 needs a GPU", 'Use "bf16" or "fp32"')
    if device.type == "cuda" and precision == "bf16" and not torch.cuda.is_bf16_supported():
        raise TaskError("hyperparameters.precision: this GPU has no bf16", 'Use "fp16" or "fp32"')
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    context: AbstractContextManager[None] = torch.autocast(device.type, dtype=dtype)
    return context


class _Keeper:
    """Evaluates in between and keeps the weights of the best evaluation (of equal ones the first), or the last ones."""

    def __init__(self, metric: str | None, evaluate: Callable[[int], Mapping[str, float]] | None) -> None:
        self._metric = metric
        self._evaluate = evaluate
        self._kept: Checkpoint | None = None
        self._state: dict[str, torch.Tensor] = {}

    def consider(self, model: Any, step: int) -> None:
        if self._evaluate is None:
            return
        metrics = self._evaluate(step)
        if self._metric is not None and self._metric not in metrics:
            raise TaskError(
                f"hyperparameters.select_best_on: splits.validation gives no {self._metric!r}",
                f"It gives {', '.join(sorted(metrics))}",
            )
        if self._metric is None:
            self._kept = Checkpoint(step, metrics)
        elif self._kept is None or self._better(metrics[self._metric], self._kept.metrics[self._metric]):
            self._kept = Checkpoint(step, metrics)
            self._state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def restore(self, model: Any) -> Checkpoint | None:
        if self._state:
            model.load_state_dict(self._state)
        return self._kept

    def _better(self, value: float, than: float) -> bool:
        if math.isnan(than):
            return not math.isnan(value)
        return value < than if self._metric in LOWER_IS_BETTER else value > than


def _groups(batches: Sequence[Batch], size: int) -> Iterator[Sequence[Batch]]:
    for start in range(0, len(batches), size):
        yield batches[start : start + size]


def _to(device: torch.device, inputs: Inputs) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in inputs.items()}
