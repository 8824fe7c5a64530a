"""A feature pyramid on EfficientNet-lite0: maps of several resolutions, all with the same number of channels.

Lin et al. 2017, "Feature pyramid networks" (arXiv:1612.03144): a coarse map, doubled in size, is added to the next
finer one. The backbone's batch norms keep the statistics of its checkpoint, since batches of whole pictures are small.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import interpolate

from repro_tui.tasks.common import efficientnet

UNUSED = (efficientnet.HEAD, "_conv_head.", "_bn1.")
"""What the names of those weights of the backbone begin with that only its classifier needs."""


class Pyramid(nn.Module):
    """Backbone and pyramid, from the map of stride `finest` (4 or 8) to that of stride 32."""

    scale = ((efficientnet.MEAN,) * 3, (efficientnet.STD,) * 3)
    """Mean and deviation of each channel by which pixels (0 to 255) go in."""
    multiple = efficientnet.STRIDES[-1]
    """Height and width of what goes in are multiples of this."""

    def __init__(self, channels: int, *, finest: int) -> None:
        super().__init__()
        self.first = efficientnet.STRIDES.index(finest)
        self.backbone = efficientnet.EfficientNetLite0(classes=None)
        for name in UNUSED[1:]:
            setattr(self.backbone, name.removesuffix("."), nn.Identity())
        inputs = list(efficientnet.FEATURES.values())[self.first :]
        self.lateral = nn.ModuleList(nn.Conv2d(count, channels, 1) for count in inputs)
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in inputs)

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels a side of one place of each map."""
        return efficientnet.STRIDES[self.first :]

    def load(self, folder: Path) -> None:
        """Load the backbone's weights; raises TaskError for those of another network."""
        whole = efficientnet.EfficientNetLite0()
        efficientnet.load(whole, folder)
        state = {name: value for name, value in whole.state_dict().items() if not name.startswith(UNUSED)}
        self.backbone.load_state_dict(state)

    def train(self, mode: bool = True) -> Pyramid:
        """Set the mode; the backbone stays as in evaluation."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the maps of (B, 3, H, W), finest first: (B, channels, H / s, W / s) for s in `strides`."""
        features = self.backbone.features(pixels)[self.first :]
        maps = [lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True)]
        for fine in reversed(range(len(maps) - 1)):
            maps[fine] = maps[fine] + interpolate(maps[fine + 1], size=maps[fine].shape[2:], mode="nearest")
        return [smooth(each) for smooth, each in zip(self.smooth, maps, strict=True)]
