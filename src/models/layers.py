"""Building blocks that more than one network uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from src.ops.resize import average, resize, size_of


class ConvNormAct(nn.Module):
    """Convolution, batch norm, and ReLU if `active`, named "conv" and "bn" in state dicts.

    The padding keeps the size at stride 1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        active: bool = True,
        bias: bool = False,
        groups: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias)
        self.bn = nn.BatchNorm2d(outputs)
        self.active = active
        self.relu = nn.ReLU(inplace=True) if active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, ceil(h / stride), ceil(w / stride))."""
        out: Tensor = self.relu(self.bn(self.conv(x)))
        return out


def separable_conv(inputs: int, outputs: int, stride: int = 1, active: bool = True) -> nn.Sequential:
    """Depthwise 3x3 with its batch norm, then `ConvNormAct` of 1x1: no activation between the two."""
    depthwise = ConvNormAct(inputs, inputs, 3, stride, active=False, groups=inputs)
    return nn.Sequential(depthwise, ConvNormAct(inputs, outputs, 1, active=active))


def conv_norm_act(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, activation: nn.Module | None = None
) -> nn.Sequential:
    """`ConvNormAct` as layers numbered 0 and 1 in state dicts, followed by any activation or none."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    layers = nn.Sequential(conv, nn.BatchNorm2d(outputs))
    return layers if activation is None else layers.append(activation)


class ConvHead(nn.Sequential):
    """3x3 convolution, batch norm, ReLU and channel dropout; then a 1x1 classifier where `classes` is given.

    Without a classifier it is the segmentation head of PSPNet, with one the auxiliary head.
    """

    def __init__(self, inputs: int, width: int, dropout: float, classes: int | None = None) -> None:
        super().__init__(*conv_norm_act(inputs, width, 3, activation=nn.ReLU(inplace=True)), nn.Dropout2d(dropout))
        if classes is not None:
            self.append(nn.Conv2d(width, classes, 1))


def initialise(module: nn.Module, *, linear: bool = False, zero_bias: bool = False, but: tuple[str, ...] = ()) -> None:
    """Draw the weights of every convolution by He et al. 2015: a normal distribution, fan out, gain of a ReLU.

    Args:
        module: whose convolutions.
        linear: fan in and a gain of one instead.
        zero_bias: set biases to zero, which else keep theirs.
        but: beginnings of names to leave out.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d) and not name.startswith(but):
            if linear:
                nn.init.kaiming_normal_(layer.weight, a=1)
            else:
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if zero_bias and layer.bias is not None:
                nn.init.zeros_(layer.bias)


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
        return [resize(stage(x), size_of(x), self.align_corners) for stage in self.stages]

    def forward(self, x: Tensor) -> Tensor:
        """The map and its pooled branches, (B, inputs + bins * outputs, h, w)."""
        return torch.cat([x, *self.branches(x)], dim=1)


class _Average(nn.AdaptiveAvgPool2d):
    """Pooling to a grid of cells, also where the size of the map is open."""

    def forward(self, x: Tensor) -> Tensor:
        cells = cast(int, self.output_size)
        return average(x, (cells, cells))


def _pooled_stage(inputs: int, outputs: int, cells: int, norm: bool) -> nn.Sequential:
    pool = _Average(cells)
    if not norm:
        return nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False))
    return nn.Sequential(pool, *conv_norm_act(inputs, outputs, activation=nn.ReLU(inplace=True)))
