"""Building blocks that more than one network uses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.ops.resize import resize


class ConvNormAct(nn.Module):
    """Convolution without bias, batch norm and ReLU; the padding keeps the size at stride 1."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, ceil(h / stride), ceil(w / stride))."""
        out: Tensor = self.relu(self.bn(self.conv(x)))
        return out


class ConvHead(nn.Sequential):
    """3x3 convolution, batch norm, ReLU and channel dropout; then a 1x1 classifier where `classes` is given.

    Without a classifier it is the segmentation head of PSPNet, with one the auxiliary head.
    """

    def __init__(self, inputs: int, width: int, dropout: float, classes: int | None = None) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
        ]
        if classes is not None:
            layers.append(nn.Conv2d(width, classes, 1))
        super().__init__(*layers)


class PyramidPooling(nn.Module):
    """Averages over grids of 1, 2, 3 and 6 cells a side, each convolved (1x1) and resized to the map's size.

    Zhao et al. 2017 (PSPNet), section 3.2.

    Args:
        inputs: channels of the map.
        outputs: channels of each pooled branch.
        bins: cells a side.
        norm: batch norm and ReLU after each convolution.
        align_corners: of the resize back.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bins: Sequence[int] = (1, 2, 3, 6),
        norm: bool = True,
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.stages = nn.ModuleList(_pooled_stage(inputs, outputs, cells, norm) for cells in bins)

    def branches(self, x: Tensor) -> list[Tensor]:
        """The pooled maps (B, outputs, h, w), coarsest first."""
        size = (int(x.shape[-2]), int(x.shape[-1]))
        return [resize(stage(x), size, self.align_corners) for stage in self.stages]

    def forward(self, x: Tensor) -> Tensor:
        """The map and its pooled branches, (B, inputs + bins * outputs, h, w)."""
        return torch.cat([x, *self.branches(x)], dim=1)


def _pooled_stage(inputs: int, outputs: int, cells: int, norm: bool) -> nn.Sequential:
    stage = nn.Sequential(nn.AdaptiveAvgPool2d(cells), nn.Conv2d(inputs, outputs, 1, bias=False))
    return stage.extend([nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]) if norm else stage
