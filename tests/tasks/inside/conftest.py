"""Fixtures for tests that run in the image: the events a task emits, and a tiny encoder with its tokenizer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from repro_tui.tasks.common.loop import Settings

WORDS = [f"w{number}" for number in range(60)] + ["good", "bad", "fine"]


@pytest.fixture(autouse=True)
def metrics_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "metrics.jsonl"
    monkeypatch.setenv("REPRO_METRICS", str(path))
    return path


@pytest.fixture
def events(metrics_file: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return what was emitted so far, of one kind or all."""

    def read(kind: str | None = None) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in metrics_file.read_text().splitlines()] if metrics_file.exists() else []
        return [line for line in lines if kind in (None, line["event"])]

    return read


@pytest.fixture
def settings() -> Callable[..., Settings]:
    """Return the loop's settings with some changed."""

    def make(**changed: Any) -> Settings:
        values: dict[str, Any] = {
            "learning_rate": 0.01, "epochs": 2, "max_steps": None, "gradient_accumulation_steps": 1,
            "optimizer": "adamw", "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "weight_decay": 0.1,
            "schedule": "linear", "warmup_ratio": 0.25, "max_grad_norm": 1.0, "precision": "fp32",
            "select_best_on": None, "evaluate_every": None,
        }  # fmt: skip
        return Settings(**values | changed)

    return make


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a random two-layer BERT and a word-level tokenizer, as a task finds it under /inputs."""
    folder = tmp_path_factory.mktemp("checkpoint")
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=32).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=5 + len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder
