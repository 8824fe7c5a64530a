"""Fixtures of the engines' tests: the tiny image, and every real engine that works here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from repro_tui.engines.base import Engine
from repro_tui.engines.choose import ENGINES
from repro_tui.images.model import Image
from tests.engines.engine_bench import Bench, kill, make_layout, make_root


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("image")
    root, layout = folder / "root", folder / "layout"
    root.mkdir()
    make_root(root)
    layer, config_digest, manifest_digest = make_layout(root, layout)
    (folder / "inventory.jsonl").touch()
    return Image(
        "tiny", "linux/amd64", manifest_digest, config_digest, (layer,), layout, root, folder / "inventory.jsonl"
    )


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest, image: Image) -> Iterator[Engine]:
    """Every real engine, ready; skipped with its own words where it does not work here."""
    real = ENGINES[request.param]()
    answer = real.availability()
    if not answer.ok:
        pytest.skip(f"{real.name}: {answer.reason} ({answer.remedy})")
    real.prepare(image, lambda done, total, text: None)
    yield real
    if real.name == "docker":
        from repro_tui.engines.docker import Endpoint, tag

        client = Endpoint.find().connect()
        client.images.remove(tag(image), force=True)
        client.close()


@pytest.fixture
def bench(engine: Engine, image: Image, tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "out").mkdir()
    made = Bench(engine, image, tmp_path, hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12])
    yield made
    for worker in made.workers:
        kill(worker)
    for running in made.running:
        running.stop(0)
        running.wait(30)
