"""A smaller model out of a trained one: a student with some of its layers, or its smallest weights at 0.

Distillation is Hinton et al. 2015 (arXiv:1503.02531), the student's layers taken from the teacher as in Sanh et al.
2019, "DistilBERT" (arXiv:1910.01108), section 2; pruning by magnitude is Han et al. 2015 (arXiv:1506.02626).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import kl_div, log_softmax, softmax
from torch.nn.utils import prune

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
