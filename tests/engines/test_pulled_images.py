"""What was pulled, compressed or not, is the same image in an engine that keeps images of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repro_tui.artifacts.store import Store
from repro_tui.engines.base import Engine
from repro_tui.engines.docker import DockerEngine
from repro_tui.engines.podman import PodmanEngine
from repro_tui.images.pulled import pull
from tests.images.registry_lab import image_of, layer_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store")
    yield made
    made.close()


@pytest.mark.parametrize("make", [DockerEngine, PodmanEngine])
@pytest.mark.parametrize("compress", ["", "gzip", "zstd"])
def test_layers_of_every_compression_are_loaded(
    compress: str, make: Callable[[], Engine], store: Store, tmp_path: Path
) -> None:
    engine = make()
    available = engine.availability()
    if not available.ok:
        pytest.skip(f"{engine.name}: {available.reason}")
    lower, upper = (
        layer_of(("etc/some", b"lower" * 1000)),
        layer_of(("etc/some", b"upper"), ("usr/x", compress.encode())),
    )
    made = image_of(lower, upper, compress=compress)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for name, data in {**made.blobs, made.digest: made.manifest}.items():
        (mirror / name[7:]).write_bytes(data)
    reference = f"gone.invalid/repro-tui-test@{made.digest}"
    image = pull(reference, "linux/amd64", store=store, offline=True, mirrors=[mirror], processes=1)
    try:
        engine.prepare(image, lambda _done, _total, _text: None)  # which compares the ID and every diff_id
        told: list[int] = []
        engine.prepare(image, lambda done, total, _text: told.append(total - done))
        assert set(told) == {0}
    finally:
        command = [engine.name, "image", "rm", "--force", image.config_digest.removeprefix("sha256:")]
        subprocess.run(command, capture_output=True, check=False)
