"""A made-up host for every test of GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.gpus.gpu_lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "host")
