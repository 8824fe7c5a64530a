"""Fixtures of the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Give a written experiment that is reproduced as it is."""
    made = Project(tmp_path)
    made.write()
    return made
