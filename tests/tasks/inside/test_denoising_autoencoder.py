"""The whole task on a few small pictures, and what its encoder is then good for."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from repro_tui.tasks import denoising_autoencoder, image_classification
from repro_tui.tasks.denoising_autoencoder import Autoencoder, corrupt
from tests.tasks.inside.picture_tasks import Run, run


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    return partial(run, denoising_autoencoder, tmp_path, monkeypatch.setenv)


def test_a_run_learns_and_hands_on_its_encoder(
    start: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (start(width=4, learning_rate=0.02, epochs=6) for _ in range(2))
    assert first.code == 0
    assert first.digests() == second.digests()
    assert list(first.digests()) == ["weights", "config", "samples"]
    found = first.metrics()
    assert list(found) == ["mse", "mse_of_corrupted", "mse_of_mean_picture"]
    assert found["mse"] < min(found["mse_of_corrupted"], found["mse_of_mean_picture"])
    assert Image.open(first.out / "samples.png").size == (12 * 16, 3 * 16)
    after = run(
        image_classification, tmp_path, monkeypatch.setenv,
        architecture="conv-encoder", width=4, freeze=True, learning_rate=0.05, epochs=2, model=first.out,
    )  # fmt: skip
    assert after.metrics()["accuracy"] > 0.8


@pytest.mark.parametrize(("noise", "level"), [("masking", 0.25), ("gaussian", 0.1)])
def test_errors_are_those_of_the_written_weights(
    start: Callable[..., Run], tmp_path: Path, noise: str, level: float
) -> None:
    done = start(width=2, epochs=1, noise=noise, noise_level=level, eval_batch_size=5, seed=7)
    train, test = (
        torch.from_numpy(
            np.frombuffer((tmp_path / name).read_bytes()[16:], dtype=np.uint8).reshape(-1, 1, 16, 16) / 255
        )
        for name in ("train", "test")
    )
    same = torch.Generator().manual_seed(7)
    if noise == "masking":
        corrupted = test * (torch.rand(12, 1, 16, 16, generator=same) >= level)
    else:
        corrupted = test + level * torch.randn(12, 1, 16, 16, generator=same).double()
    model = Autoencoder(1, 16, 2)
    model.load_state_dict(load_file(done.out / "model.safetensors"))
    with torch.inference_mode():
        rebuilt = model.double().eval()(corrupted)
    expected = {
        "mse": ((rebuilt - test) ** 2).mean().item(),
        "mse_of_corrupted": ((corrupted - test) ** 2).mean().item(),
        "mse_of_mean_picture": ((train.mean(dim=0) - test) ** 2).mean().item(),
    }
    assert done.metrics() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("side", [8, 15, 28])
def test_a_reconstruction_has_the_pictures_shape(side: int) -> None:
    pixels = torch.rand(2, 3, side, side)
    found = Autoencoder(3, side, 2)(pixels)
    assert found.shape == pixels.shape
    assert 0 <= found.min() <= found.max() <= 1


def test_masking_takes_whole_pixels() -> None:
    pixels = torch.ones(4, 3, 32, 32)
    found = corrupt(pixels, "masking", 0.25, torch.Generator().manual_seed(0))
    assert torch.equal(found[:, 0], found[:, 2])
    assert found.unique().tolist() == [0, 1]
    assert found.mean().item() == pytest.approx(0.75, abs=0.03)


def test_masking_everything_is_refused(start: Callable[..., Run]) -> None:
    assert "masking would leave nothing" in start(noise_level=1.0).of("note")[0]["text"]
