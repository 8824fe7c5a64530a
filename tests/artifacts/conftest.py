"""A store of its own for each test, a fetcher on it, and a web server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.store import Store
from tests.artifacts.artifact_lab import Server, serving


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def fetcher(store: Store, tmp_path: Path) -> Fetcher:
    """A fetcher without mirrors, whose manifest lies in tmp_path."""
    return Fetcher(store, [], base=tmp_path)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server
