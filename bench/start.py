"""What a container costs: from `engine.start` to the outcome of a command that does nothing, engine by engine.

The image is one small layer with the host's Python in it, the one of the engines' tests. Every engine that works here
takes part; they alternate.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.common import Figure, SkipBenchmark, alternate, median, spread
from repro_tui.engines.base import ContainerSpec, Engine, Limits, Mount
from repro_tui.engines.choose import ENGINES
from repro_tui.images.model import Image

_ROUNDS = 7
_LIMITS_S = {"embedded": 0.25, "docker": 2.5, "podman": 2.0}


def measure() -> list[Figure]:
    """Alternate the engines; return the median of each."""
    with tempfile.TemporaryDirectory(prefix="repro-tui-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        image = _image(folder)
        engines = [engine for engine in (make() for make in ENGINES.values()) if engine.availability().ok]
        if not engines:
            raise SkipBenchmark("no engine works here")
        sides: list[Callable[[], object]] = []
        for engine in engines:
            engine.prepare(image, _nothing)
            sides.append(partial(_once, engine, image, folder))
            sides[-1]()
        seconds = alternate(sides, _ROUNDS)
        said = [engine.availability().reason for engine in engines]
        for engine in engines:
            if engine.name != "embedded" and shutil.which(engine.name):
                command = [engine.name, "image", "rm", "--force", image.config_digest.removeprefix("sha256:")]
                subprocess.run(command, check=False, capture_output=True)
    return [
        Figure(
            name=f"one container, {engine.name}",
            value=median(taken),
            limit=_LIMITS_S[engine.name],
            unit="s",
            detail=f"{spread(taken, 3)}, {_ROUNDS} rounds, {reason}",
        )
        for engine, taken, reason in zip(engines, seconds, said, strict=True)
    ]


def _once(engine: Engine, image: Image, folder: Path) -> None:
    out = folder / f"out-{engine.name}"
    out.mkdir(exist_ok=True)
    spec = ContainerSpec(
        name=f"repro-tui-bench-{engine.name}", run_id="bench", argv=[shutil.which("sh") or "/bin/sh", "-c", ":"],
        environment={"PATH": "/bin:/usr/bin", "HOME": "/tmp"}, log=folder / "log", limits=Limits(time_s=60),
        mounts=[Mount(out, "/out", read_only=False)],
    )  # fmt: skip
    outcome = engine.start(image, spec).wait()
    if outcome is None or not outcome.ok:
        raise SkipBenchmark(f"{engine.name} did not run it: {outcome}")


def _nothing(done: int, total: int, text: str) -> None:
    del done, total, text


def _image(folder: Path) -> Image:
    from tests.engines.engine_bench import make_layout, make_root

    root, layout = folder / "root", folder / "layout"
    root.mkdir()
    make_root(root)
    layer, config_digest, manifest_digest = make_layout(root, layout)
    return Image(
        "bench", "linux/amd64", manifest_digest, config_digest, (layer,), layout, root, folder / "inventory.jsonl"
    )
