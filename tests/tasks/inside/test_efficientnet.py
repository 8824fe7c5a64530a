"""EfficientNet-lite0 against its published definition."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import MobileNetV2Config
from transformers.models.mobilenet_v2.modeling_mobilenet_v2 import MobileNetV2InvertedResidual

from repro_tui.tasks.common import efficientnet
from repro_tui.tasks.common.efficientnet import Block, EfficientNetLite0, SameConv2d
from repro_tui.tasks.common.job import TaskError

FORWARD = [[4.6878, -0.0628, -0.3398, -1.6854], [4.9096, 1.2975, 0.6914, -1.1792]]
"""Logits of the first four classes for two pictures."""


@pytest.fixture(scope="module")
def model() -> EfficientNetLite0:
    """Return the network with weights that no generator draws: a function of names and places alone."""
    network = EfficientNetLite0()
    network.eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                continue  # norms keep their ones and zeros
            places = torch.arange(parameter.numel(), dtype=torch.float32).reshape(parameter.shape)
            parameter.copy_(torch.sin(places**1.3) * (4.0 / max(1, parameter[0].numel())) ** 0.5)
    return network


def test_it_has_the_published_number_of_parameters(model: EfficientNetLite0) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_652_008
    assert sum(tensor.numel() for tensor in model.state_dict().values()) == 4_694_073  # the published file's values
    assert len(model.state_dict()) == 296


def test_blocks_have_the_shapes_of_the_published_file(model: EfficientNetLite0) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shapes["_conv_stem.weight"] == (32, 3, 3, 3)
    assert "_blocks.0._expand_conv.weight" not in shapes
    assert shapes["_blocks.3._depthwise_conv.weight"] == (144, 1, 5, 5)
    assert shapes["_blocks.11._project_conv.weight"] == (192, 672, 1, 1)
    assert shapes["_blocks.15._project_conv.weight"] == (320, 1152, 1, 1)
    assert shapes["_fc.weight"] == (1000, 1280)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (75, 33)])
def test_feature_maps_have_their_strides_and_channels(model: EfficientNetLite0, height: int, width: int) -> None:
    maps = model.features(torch.zeros(1, 3, height, width))
    expected = [
        (1, channels, -(-height // stride), -(-width // stride))
        for channels, stride in zip((24, 40, 112, 320), efficientnet.STRIDES, strict=True)
    ]
    assert [tuple(found.shape) for found in maps] == expected
    assert tuple(efficientnet.FEATURES.values()) == (24, 40, 112, 320)


def test_padding_goes_right_and_below_first() -> None:
    convolution = SameConv2d(1, 1, 3, stride=2)
    torch.nn.init.ones_(convolution.weight)
    found = convolution(torch.arange(16.0).reshape(1, 1, 4, 4))
    # The windows begin at rows and columns 0 and 2: 0..10 whole, the others cut by one row or column or both.
    assert found.flatten().tolist() == [45.0, 39.0, 66.0, 50.0]


@pytest.mark.parametrize(("outputs", "stride", "size"), [(24, 2, 9), (24, 2, 8), (16, 1, 7)])
def test_a_block_is_that_of_another_implementation(outputs: int, stride: int, size: int) -> None:
    config = MobileNetV2Config(expand_ratio=6, hidden_act="relu6", tf_padding=True, layer_norm_eps=1e-3)
    theirs = MobileNetV2InvertedResidual(config, 16, outputs, stride).eval()
    ours = Block(16, outputs, kernel=3, stride=stride, expansion=6).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 16, size, size)
    torch.testing.assert_close(ours(x), theirs(x))


def test_a_forward_pass_on_fixed_numbers(model: EfficientNetLite0) -> None:
    pixels = torch.cos((torch.arange(2 * 3 * 64 * 64) % 97).float()).cumsum(0).div(9).reshape(2, 3, 64, 64)
    with torch.inference_mode():
        logits = model(pixels)
    torch.testing.assert_close(logits[:, :4], torch.tensor(FORWARD), rtol=1e-3, atol=1e-3)


def test_another_runs_weights_load_without_their_head(tmp_path: Path, model: EfficientNetLite0) -> None:
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    small = EfficientNetLite0(classes=3)
    head = small._fc.weight.clone()
    efficientnet.load(small, tmp_path)
    assert torch.equal(small._blocks[7]._project_conv.weight, model._blocks[7]._project_conv.weight)
    assert torch.equal(small._fc.weight, head)


def test_the_weights_of_an_image_classification_run_load(tmp_path: Path, model: EfficientNetLite0) -> None:
    body = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(efficientnet.HEAD)}
    state = {f"backbone.network.{name}": tensor for name, tensor in body.items()}
    save_file({**state, "head.weight": torch.zeros(3, 1280)}, tmp_path / "model.safetensors")
    small = EfficientNetLite0(classes=3)
    efficientnet.load(small, tmp_path)
    assert torch.equal(small._blocks[7]._project_conv.weight, model._blocks[7]._project_conv.weight)
    with pytest.raises(TaskError, match="no weights of EfficientNet-lite0"):
        efficientnet.load(small, tmp_path, head=True)


def test_the_published_kind_of_file_loads_whole(tmp_path: Path, model: EfficientNetLite0) -> None:
    torch.save(model.state_dict(), tmp_path / "efficientnet.pth")
    other = EfficientNetLite0()
    efficientnet.load(other, tmp_path, head=True)
    assert torch.equal(other._fc.weight, model._fc.weight)


def test_what_is_no_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"no \.pth file"):
        efficientnet.load(EfficientNetLite0(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(TaskError, match="no weights of EfficientNet-lite0"):
        efficientnet.load(EfficientNetLite0(), tmp_path)
    save_file({"other": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(TaskError, match="no weights of EfficientNet-lite0"):
        efficientnet.load(EfficientNetLite0(), tmp_path)
