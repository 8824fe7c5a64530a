"""The image of PyTorch for CUDA: it stays below the engines' limit of layers, and assembles without a GPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repro_tui.engines.embedded import run_in_root
from repro_tui.images import layers
from repro_tui.images.assemble import plan
from repro_tui.images.recipe import find_lock, find_recipe
from repro_tui.manifest.loading import load

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "manifests/reuters-r8-minilm-cuda.toml"
ENGINES_LIMIT = 125
"""Layers that Docker stacks at most."""
ASKED = "REPRO_TUI_TEST_TORCH_CUDA"
NEEDED_BYTES = 24 << 30


def test_it_has_the_base_of_torch_cpu_and_the_folder_of_the_driver() -> None:
    cuda, cpu = find_recipe("torch-cuda"), find_recipe("torch-cpu")
    assert (cuda.base, cuda.base_lock) == (cpu.base, cpu.base_lock)
    assert cuda.folders == ("usr/local/nvidia/lib64",)
    assert cuda.sha256 != cpu.sha256


def test_it_cannot_have_more_layers_than_engines_stack() -> None:
    recipe = find_recipe("torch-cuda")
    wheels = plan(recipe, find_lock("torch-cuda")).wheels
    assert {"torch", "triton", "nvidia-cublas", "nvidia-cudnn-cu13"} <= {wheel.name for wheel in wheels}
    content = 1 + min(len(wheels), layers.MAX_OWN_LAYERS) + recipe.layers.buckets
    assert 2 * content <= ENGINES_LIMIT, "each may bring a layer of byte code"


@pytest.mark.slow
def test_it_assembles_without_a_gpu(tmp_path: Path) -> None:
    if os.environ.get(ASKED) != "1":
        pytest.skip(f"downloads 3 GB and fills 16 GB of {tmp_path}: set {ASKED}=1")
    free_bytes = shutil.disk_usage(tmp_path).free
    if free_bytes < NEEDED_BYTES:
        pytest.skip(f"{NEEDED_BYTES >> 30} GiB of free disk are needed, {free_bytes >> 30} are there")
    try:
        command = [
            sys.executable,
            "-m",
            "repro_tui",
            "image",
            "build",
            "torch-cuda",
            "--json",
            "--store",
            str(tmp_path),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=1500, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        made = json.loads(done.stdout)
        pins = load(MANIFEST).manifest.image
        assert (made["manifest_digest"], made["config_digest"]) == (pins.manifest_digest, pins.config_digest)
        assert len(made["layers"]) <= ENGINES_LIMIT
        assert 5e9 < made["size_bytes"] < 7e9
        code = "import torch, transformers; assert not torch.cuda.is_available(); print(torch.version.cuda)"
        log = tmp_path / "log"
        exit_code = run_in_root(
            Path(made["layout"]).parent / "root", ["python3", "-c", code],
            environment={"PATH": "/usr/bin:/bin", "HOME": "/tmp"}, mounts=[], log=log,
        )  # fmt: skip
        assert exit_code == 0, log.read_text()
        assert log.read_text().startswith("13.")
    finally:
        shutil.rmtree(tmp_path / "derived", ignore_errors=True)
        shutil.rmtree(tmp_path / "blobs", ignore_errors=True)
