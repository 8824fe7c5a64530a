"""A smaller model out of a trained one: a student with some of its layers, or its smallest weights at 0.

Distillation is Hinton et al. 2015 (arXiv:1503.02531), the student's layers taken from the teacher as in Sanh et al.
2019, "DistilBERT" (arXiv:1910.01108), section 2; pruning by magnitude is Han et al. 2015 (arXiv:1506.02626).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn.functional import kl_div, log_softmax, softmax
from torch.nn.utils import prune
from transformers import AutoConfig

from repro_tui.tasks.common.job import TaskError


def student_of(teacher: Any, layers: int) -> Any:
    """Return a copy of the teacher that keeps `layers` of its encoder's layers, evenly spaced from the first."""
    student = copy.deepcopy(teacher)
    of_teacher = student.config.num_hidden_layers
    if layers > of_teacher:
        raise TaskError(f"hyperparameters.layers is {layers}, the teacher has {of_teacher}", "Take fewer")
    stacks = [module for module in student.base_model.modules() if isinstance(module, nn.ModuleList)]
    stack = next((stack for stack in stacks if len(stack) == of_teacher), None)
    if stack is None:
        raise TaskError(f"{type(teacher).__name__} has no stack of {of_teacher} layers", "Use a BERT-type encoder")
    kept = [stack[i * of_teacher // layers] for i in range(layers)]
    del stack[layers:]
    for place, layer in enumerate(kept):
        stack[place] = layer
    student.config.num_hidden_layers = layers
    return student


def distillation_loss(logits: torch.Tensor, targets: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return () the mean divergence KL(teacher, student) of softened classes, for logits (B, C) of both.

    Times the temperature squared, so that its gradient does not shrink with the temperature (Hinton et al., section 2).
    """
    student, teacher = log_softmax(logits / temperature, dim=-1), softmax(targets / temperature, dim=-1)
    return temperature**2 * kl_div(student, teacher, reduction="batchmean")


@contextmanager
def pruned(model: Any, sparsity: float) -> Iterator[None]:
    """Set the weights of smallest magnitude in all linear layers together to 0, and hold them there meanwhile."""
    weights = [(module, "weight") for module in model.modules() if isinstance(module, nn.Linear)]
    prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=sparsity)
    yield
    for module, name in weights:
        prune.remove(module, name)


def check_head(weights: Path) -> None:
    """Raise TaskError for a checkpoint that is no fine-tuned classifier, whose head would be drawn unseen."""
    if not weights.is_file():
        raise TaskError(f"{weights} is not there", "The teacher is the `weights` output of another run, an artifact")
    try:
        with safe_open(weights, framework="pt") as file:
            names = list(file.keys())
    except SafetensorError as error:
        raise TaskError(f"{weights} is no safetensors file: {error}", "Take the `weights` output of a run") from None
    if not any(name.startswith(("classifier", "score")) for name in names):
        raise TaskError(f"{weights} holds no classification head", "Take the weights of a fine-tuned model")


def labels_of(checkpoint: Path, trained: list[str]) -> list[str]:
    """Return the labels in the order of the teacher's outputs: as its configuration names them, else sorted.

    Raises TaskError where it names others.
    """
    try:
        given = AutoConfig.from_pretrained(checkpoint, local_files_only=True).id2label
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TaskError(f"{checkpoint}: {reason}", "Check that the artifacts of kind weights are all there") from None
    names = [given[number] for number in sorted(given)]
    if sorted(names) == trained:
        return names
    if names == [f"LABEL_{number}" for number in range(len(names))]:  # transformers' names where nobody gave any
        return trained
    raise TaskError(
        f"the teacher tells {', '.join(names)} apart, splits.train {', '.join(trained)}",
        "Take a teacher that was fine-tuned on the same classes",
    )
