"""Atrous spatial pyramid pooling, which DFANet's paper compares its aggregation with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from src.models.layers import conv_norm_act
from src.ops.resize import resize, size_of

RATES = (6, 12, 18)  # of a map at stride 16 (Chen et al. 2017, DeepLabv3)
WIDTH = 256  # of each branch


class ASPP(nn.Module):
    """A 1x1 convolution, three dilated 3x3 ones and the mean of the map, joined by a 1x1 convolution.

    Args:
        inputs: channels of the map.
        outputs: channels of the result.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_norm_act(inputs, WIDTH, activation=nn.ReLU())])
        for rate in RATES:
            dilated = nn.Conv2d(inputs, WIDTH, 3, padding=rate, dilation=rate, bias=False)
            self.branches.append(nn.Sequential(dilated, nn.BatchNorm2d(WIDTH), nn.ReLU()))
        self.mean = nn.Sequential(nn.Conv2d(inputs, WIDTH, 1), nn.ReLU())  # no norm: of one value for each channel
        self.join = conv_norm_act((2 + len(RATES)) * WIDTH, outputs, activation=nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w)."""
        mean = resize(self.mean(x.mean((2, 3), keepdim=True)), size_of(x))
        joined: Tensor = self.join(torch.cat([*(branch(x) for branch in self.branches), mean], 1))
        return joined
