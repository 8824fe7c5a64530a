"""The networks against their papers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import max_pool2d
from transformers import ResNetConfig, ResNetForImageClassification

from repro_tui.tasks.common import backbones
from repro_tui.tasks.common.job import TaskError


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_resnet18_has_the_parameters_of_its_paper() -> None:
    network = backbones.build("resnet18", (3, 224, 224), None)
    assert size(network) + 512 * 1000 + 1000 == 11_689_512
    assert network.width == 512


def test_resnet18_gives_what_the_library_gives_from_the_same_weights() -> None:
    torch.manual_seed(0)
    config = ResNetConfig(
        num_channels=3, embedding_size=4, hidden_sizes=[4, 8, 16, 32], depths=[2, 2, 2, 2], layer_type="basic"
    )
    theirs = ResNetForImageClassification(config).eval()
    ours = backbones.build("resnet18", (3, 64, 64), 4).eval()
    ours.network.load_state_dict(theirs.resnet.state_dict())
    pixels = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(pixels), theirs.resnet(pixels).pooler_output.flatten(1))


def test_small_pictures_get_the_small_stem() -> None:
    network = backbones.build("resnet18", (1, 28, 28), 4)
    maps = network.network(torch.zeros(1, 1, 28, 28)).last_hidden_state
    assert maps.shape == (1, 32, 4, 4)
    assert network.network.embedder.embedder.convolution.weight.shape == (4, 1, 3, 3)


def test_the_discriminators_features_are_every_layer_pooled_to_four_by_four() -> None:
    network = backbones.build("dcgan-discriminator", (1, 28, 28), 8).eval()
    pixels = torch.randn(2, 1, 28, 28)
    layers = network.layers(pixels)
    assert [tuple(maps.shape[1:]) for maps in layers] == [(8, 14, 14), (16, 7, 7), (32, 4, 4)]
    found = network(pixels)
    assert found.shape == (2, network.width) == (2, (8 + 16 + 32) * 16)
    torch.testing.assert_close(found[:, : 8 * 16], max_pool2d(layers[0], 4, ceil_mode=True).flatten(1))
    torch.testing.assert_close(found[:, -32 * 16 :], layers[2].flatten(1))
    assert network.judge(pixels).shape == (2,)


@pytest.mark.parametrize("side", [*range(1, 50), 64, 100])
def test_the_discriminators_width_is_that_of_its_features(side: int) -> None:
    network = backbones.build("dcgan-discriminator", (1, side, side), 2).eval()
    assert network(torch.zeros(1, 1, side, side)).shape == (1, network.width)


def test_the_encoders_code_and_the_way_back() -> None:
    network = backbones.build("conv-encoder", (3, 20, 20), 4)
    assert network(torch.zeros(2, 3, 20, 20)).shape == (2, network.width) == (2, 16 * 3 * 3)
    maps = torch.zeros(1, 16, 3, 3)
    for convolution in backbones.doubling((16, 8, 4, 3), 20):
        maps = convolution(maps)
    assert maps.shape == (1, 3, 20, 20)


def test_efficientnet_wants_its_own_scale_and_colour() -> None:
    network = backbones.build("efficientnet-lite0", (3, 32, 32), None)
    assert network.scale == (127.0, 128.0)
    assert size(network) == 4_652_008 - 1_281_000
    with pytest.raises(TaskError, match="takes pictures in colour"):
        backbones.build("efficientnet-lite0", (1, 32, 32), None)


def test_pictures_that_are_no_squares_are_refused() -> None:
    with pytest.raises(TaskError, match="the pictures are 30x20, conv-encoder takes squares"):
        backbones.build("conv-encoder", (1, 20, 30), None)


def test_a_checkpoint_comes_back_and_another_networks_does_not(tmp_path: Path) -> None:
    network = backbones.build("conv-encoder", (1, 16, 16), 4)
    description = backbones.describe("conv-encoder", (1, 16, 16), 4)
    state = {f"backbone.{name}": tensor for name, tensor in network.state_dict().items()}
    save_file({**state, "head.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(TaskError, match=r"holds no config\.json"):
        backbones.restore(network, description, tmp_path)
    backbones.save_config(tmp_path, description)
    other = backbones.build("conv-encoder", (1, 16, 16), 4)
    backbones.restore(other, description, tmp_path)
    assert torch.equal(other.convolutions[2].weight, network.convolutions[2].weight)
    with pytest.raises(TaskError, match="the checkpoint's width is 4, here it is 8"):
        backbones.restore(other, {**description, "width": 8}, tmp_path)
    save_file({"backbone.other": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(TaskError, match="Take another checkpoint"):
        backbones.restore(other, description, tmp_path)
