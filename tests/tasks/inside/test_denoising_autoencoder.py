"""The whole task on a few small pictures, and what its encoder is then good for."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

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


def test_errors_are_the_means_over_all_pixels(start: Callable[..., Run], tmp_path: Path) -> None:
    found = start(width=2, epochs=1, noise="gaussian", noise_level=0.1).metrics()
    train, test = (
        np.frombuffer((tmp_path / name).read_bytes()[16:], dtype=np.uint8).reshape(-1, 256) / 255
        for name in ("train", "test")
    )
    assert found["mse_of_mean_picture"] == pytest.approx(((test - train.mean(axis=0)) ** 2).mean(), rel=1e-4)
    assert found["mse_of_corrupted"] == pytest.approx(0.01, rel=0.1)  # the variance of the noise


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
