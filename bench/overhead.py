"""A whole `--run`, image and artifacts cached, against the same command of the same task in plain bubblewrap.

The manifest is the plain PyTorch one: about ten seconds of real training, so that a second of overhead shows.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.common import Figure, SkipBenchmark, alternate, median, spread
from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.mirrors import mirrors_from
from repro_tui.artifacts.store import Store, default_store_path
from repro_tui.engines.sandbox import candidates
from repro_tui.images.assemble import find_image
from repro_tui.images.recipe import find_recipe
from repro_tui.manifest import loading, pins

MANIFEST = Path(__file__).parents[1] / "manifests" / "plain-pytorch.toml"
_ROUNDS = 5
_ALLOWED_S = 3.0
_ALLOWED_RATIO = 1.03


def measure() -> list[Figure]:
    """Run once to fill the store, then alternate the two; the figure is what the run costs beyond 3 %."""
    with tempfile.TemporaryDirectory(prefix="repro-tui-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)

        def whole() -> None:
            command = [sys.executable, "-m", "repro_tui", "run", str(MANIFEST), "--engine", "embedded", "--plain"]
            done = subprocess.run(
                [*command, "--runs", str(folder / "runs")], capture_output=True, text=True, check=False
            )
            if done.returncode not in {0, 1}:
                raise SkipBenchmark(f"{MANIFEST.name} does not run here: {done.stderr.strip()[-300:]}")

        whole()
        argv = _plain(folder)

        def plain() -> None:
            for left in (folder / "out").iterdir():
                left.unlink()
            subprocess.run(argv, check=True, capture_output=True)

        plain()
        runs, plains = alternate([whole, plain], _ROUNDS)
    over_s = median(runs) - _ALLOWED_RATIO * median(plains)
    return [
        Figure(
            name="a whole run beyond 1.03 times the plain command",
            value=over_s,
            limit=_ALLOWED_S,
            unit="s",
            detail=f"{spread(runs)} against {spread(plains)}, {_ROUNDS} rounds, {MANIFEST.name}",
        )
    ]


def _plain(folder: Path) -> list[str]:
    """Return the command line that starts the same command in the same root, by hand."""
    loaded = loading.load(MANIFEST)
    manifest = loaded.manifest
    store = Store(default_store_path())
    image = find_image(
        find_recipe(manifest.image.recipe or "", manifest.image.platform),
        loaded.resolve(manifest.environment.lock or ""),
        store=store,
    )
    if image is None or not candidates():
        raise SkipBenchmark("no assembled image, or no bubblewrap")
    fetcher = Fetcher(store, mirrors_from([]), base=MANIFEST.parent, offline=True)
    out = folder / "out"
    out.mkdir()
    argv = [str(candidates()[-1].path), "--unshare-all", "--ro-bind", str(image.root), "/"]
    argv += [
        "--tmpfs",
        "/inputs",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
        "--bind",
        str(out),
        "/out",
        "--clearenv",
        "--chdir",
        "/code",
    ]
    for artifact in manifest.artifacts:
        source = fetcher.artifact(artifact)
        if manifest.task is not None and artifact.name == manifest.task.code:
            argv += ["--ro-bind", str(source), "/code"]
        else:
            argv += ["--ro-bind", str(source), f"/inputs/{artifact.path}"]
    for key, value in pins.container_environment(loaded).items():
        argv += ["--setenv", key, value]
    return [*argv, "--", *pins.command(loaded)]
