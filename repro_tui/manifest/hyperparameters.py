"""Hyperparameters of the built-in tasks, one model a task. docs/manifest.md documents every key.

The defaults belong to schema 1 and do not change: a manifest that leaves a key out goes on meaning the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field

from repro_tui.manifest.fields import Table

Averaging = Literal["macro", "binary"]
Metric = Literal[
    "accuracy", "macro_precision", "macro_recall", "macro_f1", "binary_precision", "binary_recall", "binary_f1", "loss"
]
"""The averaging is part of the name: a macro F1 and a binary one are different metrics."""


class Hyperparameters(Table):
    """Base: what a built-in task takes, and what it needs and gives besides."""

    needed_splits: ClassVar[tuple[str, ...]] = ()
    """Splits that must be there."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """Names of the metrics the task can report."""
    outputs: ClassVar[tuple[str, ...]] = ()
    """Names of the outputs whose digests the task reports."""

    def settings(self) -> dict[str, Any]:
        """Return them as the task reads them in job.json: every key, null for what is off."""
        return self.model_dump()

    @classmethod
    def reported_metrics(cls, given: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG003 - a task may look at them
        """Return the names of the metrics that the task reports with the hyperparameters that are given."""
        return cls.metrics


class TextClassification(Hyperparameters):
    """Hyperparameters of `text_classification`: an encoder checkpoint with a new classification head."""

    needed_splits = ("train", "test")
    metrics = get_args(Metric)
    outputs = ("weights", "predictions")

    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Highest learning rate, reached after the warm-up; a factor on the gradient step, without unit."""
    epochs: Annotated[int, Field(ge=1)] = 3
    """Passes over the training split."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many optimizer steps, even within an epoch; the schedule ends there too. No limit without it."""
    train_batch_size: Annotated[int, Field(ge=1)] = 32
    """Training examples a forward pass."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Forward passes an optimizer step."""
    eval_batch_size: Annotated[int, Field(ge=1)] = 64
    """Examples a forward pass in evaluation."""
    max_length: Annotated[int, Field(ge=2)] = 128
    """Longer inputs are cut to so many tokens."""
    length_grouping: bool = True
    """Batch inputs of similar length together, which saves padding."""
    optimizer: Literal["adamw"] = "adamw"
    """The optimizer: AdamW (decoupled weight decay)."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of AdamW's running mean of gradients."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of AdamW's running mean of squared gradients."""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Term in AdamW's denominator."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay; biases and layer norms have none."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate goes after the warm-up: down to 0 in a line or half a cosine, or not at all."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Part of all optimizer steps over which the learning rate rises from 0: a fraction."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are clipped to this L2 norm; 0 for not at all."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout probability everywhere in the model. The checkpoint's own without it."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Number format of forward and backward pass; weights are kept in fp32. tf32: fp32 with a GPU's TF32 products."""
    averaging: Averaging = "macro"
    """Precision, recall and F1: the mean over all classes, or those of the second of two classes."""
    select_best_on: Metric | None = None
    """Keep the checkpoint with the best value of this metric on the validation split. The last one without it."""
    evaluate_every: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps between two evaluations on the validation split. Once an epoch without it."""

    def settings(self) -> dict[str, Any]:
        """Return them as the task reads them in job.json; TOML has no null, so 0 says it for the clipping."""
        return {**super().settings(), "max_grad_norm": self.max_grad_norm or None}

    @classmethod
    def reported_metrics(cls, given: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the metrics, without those of the averaging that was not chosen."""
        other = "macro_" if given.get("averaging", "macro") == "binary" else "binary_"
        return tuple(name for name in cls.metrics if not name.startswith(other))


BUILTIN: Mapping[str, type[Hyperparameters]] = {"text_classification": TextClassification}
"""Every built-in task by the name that `task.name` gives it."""


def resolve(task: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters of a run: for a built-in task all of them, defaults filled in; else as given.

    Raises pydantic.ValidationError where the task does not take them; a loaded manifest holds none of those.
    """
    if task is None:
        return dict(given)
    return BUILTIN[task].model_validate(dict(given)).settings()
