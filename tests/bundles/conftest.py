"""Fixtures of the bundles' tests: one experiment and one bundle of it for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_tui.artifacts.store import Store
from tests.bundles.experiment import Experiment


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Return the experiment; no test changes it."""
    made = Experiment(tmp_path_factory.mktemp("bundles") / "tiny")
    made.write()
    return made


@pytest.fixture(scope="session")
def bundle(experiment: Experiment) -> Path:
    """Return the bundle of the experiment; no test changes it."""
    return experiment.pack(experiment.folder / "tiny.repro.tar").path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store(tmp_path / "store")
