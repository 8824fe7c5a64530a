"""Encoder checkpoints (BERT's kind): loading one under a new head, and texts as the padded tokens it takes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer

from repro_tui.tasks.common.job import Job, TaskError

Encoded = dict[str, list[int]]
"""Token ids and masks of one input (T,) each, unpadded."""

DROPOUT_KEYS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "dropout", "attention_dropout",
    "activation_dropout", "seq_classif_dropout", "pooler_dropout", "embedding_dropout", "mlp_dropout",
    "hidden_dropout", "cls_dropout",
)  # fmt: skip
"""What the encoders' configurations call their dropout probabilities."""

TOKENISED_AT_ONCE = 1000
"""Texts a call of the tokenizer, which keeps what it cuts off until the call ends."""


class Settings(Protocol):
    """What the loading needs of a task's settings."""

    @property
    def max_length(self) -> int:
        """Tokens of the longest input."""

    @property
    def dropout(self) -> float | None:
        """Dropout probability everywhere in the model, or none for the checkpoint's own."""


def load(
    job: Job,
    architecture: Any,
    settings: Settings,
    *,
    from_scratch: bool = False,
    new_head: bool = True,
    words: bool = False,
    **changed: Any,
) -> tuple[Any, Any]:
    """Return tokenizer and model of the job's checkpoint folder; raises TaskError for what cannot be one.

    `architecture` is one of transformers' auto classes; `changed` are keys of the configuration, such as `num_labels`.
    The head is new, without `new_head` it is the checkpoint's. With `from_scratch` all weights are drawn, as the
    configuration says, and only configuration and tokenizer are the checkpoint's. With `words` the tokenizer is for
    single words, whose space before it would else be lost (RoBERTa's kind).
    """
    folder = job.checkpoint
    if not (folder / "config.json").is_file():
        raise TaskError(f"{folder} holds no config.json", "task.model names the folder with the checkpoint")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, **changed)
        if settings.dropout is not None:
            config.update({key: settings.dropout for key in DROPOUT_KEYS if getattr(config, key, None) is not None})
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if words and getattr(tokenizer, "add_prefix_space", True) is False:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, add_prefix_space=True)
        if from_scratch:
            model = architecture.from_config(config, dtype=torch.float32)
        else:
            model, found = architecture.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=new_head,
                local_files_only=True,
                output_loading_info=True,
            )
            check_loaded(folder, model, found, new_head=new_head)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TaskError(f"{folder}: {reason}", "Check that the artifacts of kind weights are all there") from None
    if tokenizer.pad_token is None:
        raise TaskError(f"{folder}: the tokenizer has no padding token", "Use an encoder checkpoint")
    positions = min(getattr(config, "max_position_embeddings", 0) or sys.maxsize, tokenizer.model_max_length)
    if settings.max_length > positions:
        raise TaskError(f"max_length is {settings.max_length}, the model takes {positions} tokens", "Lower it")
    if new_head:
        draw_head(model)
    return tokenizer, model


def check_loaded(folder: Path, model: Any, found: Mapping[str, Any], *, new_head: bool) -> None:
    """Raise TaskError where weights below the head were drawn at random, not being in the checkpoint as they should.

    `found` is what transformers tells of the loading. A pooler may be missing: checkpoints of masked language models
    have none. Without `new_head` the head must be there as well.
    """
    prefix = "" if not new_head or model.base_model is model else f"{model.base_model_prefix}."
    absent = {*found["missing_keys"], *(entry[0] for entry in found["mismatched_keys"])}
    drawn = sorted(name for name in absent if name.startswith(prefix) and "pooler" not in name)
    if drawn:
        raise TaskError(
            f"{folder}: the weights do not fit the configuration: {len(drawn)} tensors are missing or of another "
            f"shape, {drawn[0]} first",
            "Take the config.json that belongs to the weights",
        )


def named(labels: Sequence[str]) -> dict[str, Any]:
    """Return the keys of the configuration that give a head its outputs, one for each label."""
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }


def draw_head(model: Any) -> None:
    """Draw all weights outside the encoder anew, N(0, initializer_range); biases are 0, the scales of norms 1.

    Also where the checkpoint has a head that fits, so that what is trained depends on the seed alone. A model that is
    the encoder and nothing else is left as it is.
    """
    if model.base_model is model:
        return
    for name, module in model.named_children():
        if name != model.base_model_prefix:
            for of, parameter in module.named_parameters():
                if parameter.ndim >= 2:
                    torch.nn.init.normal_(parameter, std=getattr(model.config, "initializer_range", 0.02))
                else:
                    torch.nn.init.constant_(parameter, 1.0 if of.endswith("weight") else 0.0)


def tokenise(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int
) -> list[Encoded]:
    """Return the tokens of texts (N,), or of texts and `pairs` (N,) joined; longer ones are cut to `max_length`."""
    encoded: list[Encoded] = []
    for begin in range(0, len(texts), TOKENISED_AT_ONCE):
        part = slice(begin, begin + TOKENISED_AT_ONCE)
        tokenised = tokenizer(
            list(texts[part]), list(pairs[part]) if pairs is not None else None, truncation=True, max_length=max_length
        )
        encoded += [dict(zip(tokenised, values, strict=True)) for values in zip(*tokenised.values(), strict=True)]
    return encoded


def pad(tokenizer: Any, encoded: Sequence[Encoded], precision: str) -> dict[str, torch.Tensor]:
    """Pad a batch to its longest member; returns tensors (B, T), T a multiple of 8 where half precision wants that."""
    multiple = 8 if precision in {"bf16", "fp16"} else None
    padded = tokenizer.pad(list(encoded), pad_to_multiple_of=multiple, return_tensors="pt")
    return dict(padded)
