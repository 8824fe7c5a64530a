"""A good manifest in a folder, and a way to change one place of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from repro_tui.manifest.loading import inspect
from repro_tui.manifest.problems import Problem

LOCK = "numpy==2.2.0 --hash=sha256:0\n"

GOOD = f"""\
schema = 1

[experiment]
name = "tiny"
title = "A tiny experiment"
authors = ["A. Author"]
licence = "CC0-1.0"

[image]
recipe = "torch-cpu"

[environment]
lock = "lock.txt"
lock_sha256 = "{hashlib.sha256(LOCK.encode()).hexdigest()}"

[[artifacts]]
name = "encoder"
kind = "weights"
path = "encoder/model.safetensors"
sha256 = "{"a" * 64}"
bytes = 10
sources = [{{ type = "local", path = "model.safetensors" }}]

[[artifacts]]
name = "train"
kind = "data"
path = "data/train.tsv"
sha256 = "{"b" * 64}"
bytes = 20
sources = [{{ type = "pip", package = "p", version = "1", sha256 = "{"c" * 64}", path = "train.tsv" }}]

[[artifacts]]
name = "test"
kind = "data"
path = "data/test.tsv"
sha256 = "{"d" * 64}"
bytes = 20
sources = [{{ type = "local", path = "test.tsv" }}]

[task]
name = "text_classification"
model = "encoder"

[splits.train]
artifact = "train"

[splits.validation]
part_of = "train"
fraction = 0.1
seed = 1

[splits.test]
artifact = "test"
text = 0
label = 1

[hyperparameters]
learning_rate = 1
epochs = 2

[determinism]
seed = 42

[[expected.metrics]]
name = "accuracy"
value = 0.9
absolute = 0.01
"""

COMMAND = (
    GOOD.replace(
        '[task]\nname = "text_classification"\nmodel = "encoder"\n',
        '[task]\ncommand = ["python3", "train.py", "--lr={learning_rate}", "{seed}"]\ncode = "code"\n',
    )
    + f"""
[[artifacts]]
name = "code"
kind = "code"
path = "data"
tree_sha256 = "{"e" * 64}"
bytes = 30
sources = [{{ type = "local", path = "code" }}]
"""
)
"""The same with a command; its code is mounted at /code, so that its path may be that of a folder of data."""


@pytest.fixture
def good() -> str:
    """Return a good manifest of a built-in task."""
    return GOOD


@pytest.fixture
def with_command() -> str:
    """Return a good manifest of a command."""
    return COMMAND


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lock.txt").write_text(LOCK)
    return tmp_path


@pytest.fixture
def problems(folder: Path) -> Callable[..., list[Problem]]:
    """Return the problems of GOOD with some of its text replaced."""

    def find(*changes: tuple[str, str], base: str = GOOD) -> list[Problem]:
        text = base
        for old, new in changes:
            assert old in text, f"the manifest has no {old!r}"
            text = text.replace(old, new)
        path = folder / "manifest.toml"
        path.write_text(text, encoding="utf-8")
        return list(inspect(path).problems)

    return find
