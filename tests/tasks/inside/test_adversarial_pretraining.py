"""The whole task on a few small pictures, and its steps against the paper's algorithm."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import logsigmoid

from repro_tui.tasks import adversarial_pretraining, image_classification
from repro_tui.tasks.adversarial_pretraining import Adversaries, Generator, Settings, prepared, train
from repro_tui.tasks.common.batches import training_batches
from tests.tasks.inside.picture_tasks import Run, run


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    return partial(run, adversarial_pretraining, tmp_path, monkeypatch.setenv)


def test_a_run_repeats_to_the_bit_and_hands_on_its_discriminator(
    start: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (start(width=4, latent=3, epochs=2, train_batch_size=10) for _ in range(2))
    assert first.code == 0
    assert first.digests() == second.digests()
    assert list(first.digests()) == ["weights", "config", "samples"]
    assert list(first.metrics()) == ["real_judged_real", "generated_judged_real"]
    assert len(first.of("step")) == 6  # the last two pictures of each epoch fill no batch
    assert Image.open(first.out / "samples.png").size == (8 * 16, 2 * 16)
    after = run(
        image_classification, tmp_path, monkeypatch.setenv,
        architecture="dcgan-discriminator", width=4, learning_rate=0.02, model=first.out,
    )  # fmt: skip
    assert after.metrics()["accuracy"] > 0.8


def test_what_is_judged_real_is_what_the_written_weights_judge_real(
    start: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def centred(model: Adversaries, settings: Settings, pixels: Tensor, *, seed: int) -> None:
        """Train, then move the threshold to where half of the pictures trained on are above it."""
        train(model, settings, pixels, seed=seed)
        with torch.no_grad():
            model.backbone.score.bias -= model.eval().backbone.judge(prepared(pixels)).median()

    monkeypatch.setattr(adversarial_pretraining, "train", centred)
    done = start(width=4, latent=3, epochs=2, eval_batch_size=5, seed=7)
    state = load_file(done.out / "model.safetensors")
    model = Adversaries(3, 1, 16, 4)
    model.load_state_dict(state)
    model.double().eval()
    pixels = np.frombuffer((tmp_path / "test").read_bytes()[16:], dtype=np.uint8).reshape(12, 1, 16, 16)
    codes = torch.randn(12, 3, generator=torch.Generator().manual_seed(7)).double()
    with torch.inference_mode():
        real = model.backbone.judge(torch.from_numpy(pixels / 127.5 - 1))
        generated = model.backbone.judge(model.generator(codes))
    assert 0 < (real > 0).sum() < 12
    assert done.metrics() == pytest.approx({
        "real_judged_real": (real > 0).sum().item() / 12,
        "generated_judged_real": (generated > 0).sum().item() / 12,
    })  # fmt: skip


@pytest.mark.parametrize(("logit", "part"), [(1.0, 1.0), (0.0, 0.0), (-1.0, 0.0)])
def test_a_discriminator_that_always_says_the_same(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, logit: float, part: float
) -> None:
    def fixed(model: Adversaries, *_: object, seed: int) -> None:
        assert seed == 1
        with torch.no_grad():
            model.backbone.score.weight.zero_()
            model.backbone.score.bias.fill_(logit)

    monkeypatch.setattr(adversarial_pretraining, "train", fixed)
    assert start(width=2, latent=2).metrics() == {"real_judged_real": part, "generated_judged_real": part}


def test_a_step_is_that_of_the_papers_algorithm(events: Callable[..., list[dict[str, float]]]) -> None:
    pixels = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = Adversaries(2, 1, 8, 2)
    torch.manual_seed(0)
    same = Adversaries(2, 1, 8, 2).train()
    train(model, Settings(epochs=1, train_batch_size=4, latent=2, width=2), pixels, seed=3)

    made = same.generator(torch.randn(4, 2, generator=torch.Generator().manual_seed(3)))
    order = training_batches([1] * 4, 4, seed=3, epoch=0, grouped=False)[0]
    real, fake = same.backbone.judge(prepared(pixels[order])), same.backbone.judge(made.detach())
    loss = -(logsigmoid(real).mean() + logsigmoid(-fake).mean())  # -log D(x) - log(1 - D(G(z)))
    (step,) = events("step")
    assert step["loss"] == pytest.approx(loss.item(), rel=1e-5)

    adam = {"lr": 2e-4, "betas": (0.5, 0.999), "weight_decay": 0.0}
    optimizer = torch.optim.AdamW(same.backbone.parameters(), **adam)
    loss.backward()
    optimizer.step()
    torch.testing.assert_close(model.backbone.score.weight, same.backbone.score.weight)
    generator_loss = -logsigmoid(same.backbone.judge(made)).mean()  # -log D(G(z))
    assert step["generator_loss"] == pytest.approx(generator_loss.item(), rel=1e-5)


@pytest.mark.parametrize("side", [8, 15, 28])
def test_generated_pictures_have_the_real_ones_shape(side: int) -> None:
    found = Generator(5, 3, side, 2)(torch.randn(2, 5))
    assert found.shape == (2, 3, side, side)
    assert -1 <= found.min() <= found.max() <= 1


def test_too_few_pictures_for_a_batch_are_said(start: Callable[..., Run]) -> None:
    assert "splits.train has 32 pictures, a batch 64" in start(train_batch_size=64).of("note")[0]["text"]
