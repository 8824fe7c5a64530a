"""Pulling torch-cpu by digest with the embedded engine's own client against `docker pull`, from one local registry.

Both sides are timed until they are ready to start a container: ours has downloaded, checked and unpacked every layer
into a root, Docker's has done what it does. Neither side has any layer before a round. The layers are uncompressed, as
they are pushed.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.common import Figure, SkipBenchmark, alternate, median, spread
from repro_tui.artifacts.store import Store, default_store_path, remove_tree
from repro_tui.engines.docker import DockerEngine
from repro_tui.images.assemble import find_image
from repro_tui.images.model import Image
from repro_tui.images.pulled import pull
from repro_tui.images.recipe import find_lock, find_recipe
from repro_tui.images.registry.push import push

NAME = "torch-cpu"
_ROUNDS = 3
_START_PATIENCE_S = 20.0


def measure() -> list[Figure]:
    """Alternate the two pulls of one image."""
    image = find_image(find_recipe(NAME), find_lock(NAME), store=Store(default_store_path()))
    if image is None:
        raise SkipBenchmark(f"{NAME} is not in the store: `repro-tui image build {NAME}` first")
    answer = DockerEngine().availability()
    if not answer.ok:
        raise SkipBenchmark(f"Docker: {answer.reason}")
    with (
        tempfile.TemporaryDirectory(prefix="repro-tui-bench-", ignore_cleanup_errors=True) as name,
        _registry(Path(name)) as host,
    ):
        both = _Both(Path(name), image, push(image, f"{host}/{NAME}"))
        ours, theirs = list[float](), list[float]()
        for _ in range(_ROUNDS):
            (mine,), (docker,) = alternate([both.ours, both.theirs], 1)
            ours.append(mine)
            theirs.append(docker)
            both.forget()
    size_bytes = sum(layer.size_bytes for layer in image.layers)
    return [
        Figure(
            name=f"pulling {NAME} by digest / docker pull",
            value=median(ours) / median(theirs),
            limit=1.0,
            unit="times",
            detail=f"{spread(ours, 1)} against {spread(theirs, 1)}, "
            f"{size_bytes / 1e6:.0f} MB in {len(image.layers)} layers, "
            f"{_ROUNDS} rounds, one registry on loopback",
        )
    ]


class _Both:
    """The two sides, each without anything of the image when it begins."""

    def __init__(self, folder: Path, image: Image, reference: str) -> None:
        self._folder = folder
        self._image = image
        self._reference = reference
        self._rounds = 0

    def ours(self) -> None:
        """Pull into an empty store."""
        store = Store(self._folder / f"store-{self._rounds}")
        self._rounds += 1
        pulled = pull(self._reference, self._image.platform, store=store)
        store.close()
        if pulled.diff_ids != self._image.diff_ids:
            raise SkipBenchmark("the pulled image is another one")

    def theirs(self) -> None:
        """Pull into a Docker that has none of the layers."""
        subprocess.run(["docker", "pull", "--quiet", self._reference], check=True, capture_output=True)

    def forget(self) -> None:
        """Remove what a round left, outside of the time that is taken."""
        subprocess.run(["docker", "image", "rm", "--force", self._reference], check=False, capture_output=True)
        for store in self._folder.glob("store-*"):
            remove_tree(store)


@contextmanager
def _registry(folder: Path) -> Iterator[str]:
    """Run a docker-registry on loopback and give its host and port."""
    program = shutil.which("docker-registry")
    if program is None or shutil.which("docker") is None:
        raise SkipBenchmark("`docker-registry` or `docker` is not on PATH")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML too
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_PATIENCE_S
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
