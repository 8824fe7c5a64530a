"""The experiment, run once for all tests of this folder."""

from __future__ import annotations

import pytest

from tests.report.explain.workbench import Bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Give the experiment after its first run."""
    return Bench(tmp_path_factory.mktemp("explained"))
