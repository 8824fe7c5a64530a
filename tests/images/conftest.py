"""A small recipe with everything it needs, and stores that are closed again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repro_tui.artifacts.store import Store
from repro_tui.images.registry import transport
from tests.images.image_parts import DEBS, WHEELS, Parts
from tests.images.registry_lab import FakeServer, MadeImage, RealRegistry, start_registry


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    made = Parts(tmp_path / "parts")
    made.folder.mkdir()
    made.write(DEBS, WHEELS)
    return made


@pytest.fixture
def new_store(tmp_path: Path) -> Iterator[Callable[[str], Store]]:
    stores: list[Store] = []

    def make(name: str) -> Store:
        stores.append(Store(tmp_path / name))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., RealRegistry]]:
    """Starts real registries, in a home without credentials of anybody's."""
    processes: list[subprocess.Popen[bytes]] = []
    without_credentials(tmp_path / "home", monkeypatch)

    def begin(name: str = "registry", **options: bool) -> RealRegistry:
        registry, process = start_registry(tmp_path / name, **options)
        processes.append(process)
        return registry

    yield begin
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[MadeImage], FakeServer]]:
    """Starts registries that misbehave; tries are made again at once."""
    servers: list[FakeServer] = []
    without_credentials(tmp_path / "home", monkeypatch)
    monkeypatch.setattr(transport, "RETRY_DELAYS_S", (0.01, 0.01, 0.01))

    def begin(image: MadeImage) -> FakeServer:
        servers.append(FakeServer(image))
        return servers[-1]

    yield begin
    for server in servers:
        server.end()


def without_credentials(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".docker").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
