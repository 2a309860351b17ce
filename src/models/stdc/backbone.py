"""The STDC backbones: convolutions of ever fewer channels, concatenated (Fan et al. 2021, figure 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from src.errors import UserError
from src.models.layers import ConvNormAct

BLOCKS = {1: (2, 2, 2), 2: (4, 5, 3)}  # of stages 3 to 5, in STDC1 and STDC2 (table 2)
CHANNELS = (256, 512, 1024)  # of the same


class STDC(nn.Module):
    """Five stages at strides 2 to 32, without the ImageNet classifier.

    Args:
        variant: 1 or 2.

    Raises:
        UserError: an unknown variant.
    """

    def __init__(self, variant: int) -> None:
        super().__init__()
        if variant not in BLOCKS:
            raise UserError(f"STDC variant {variant} is not known; take one of {sorted(BLOCKS)}")
        self.stem = nn.Sequential(ConvNormAct(3, 32, stride=2), ConvNormAct(32, 64, stride=2))
        self.stages = nn.ModuleList(map(_stage, (64, *CHANNELS), CHANNELS, BLOCKS[variant]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """An image (B, 3, H, W) to maps of 256, 512 and 1024 channels at strides 8, 16 and 32."""
        x8 = self.stages[0](self.stem(x))
        x16 = self.stages[1](x8)
        return x8, x16, self.stages[2](x16)


class STDCBlock(nn.Module):
    """Short-term dense concatenation: a 1x1 and three 3x3 convolutions, the outputs of all of them side by side."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.first = ConvNormAct(inputs, half, 1)
        strided = stride == 2
        self.down = ConvNormAct(half, half, stride=2, groups=half, active=False) if strided else nn.Identity()
        self.pool = nn.AvgPool2d(3, 2, 1) if strided else nn.Identity()
        widths = (half, half // 2, half // 4, half // 4)
        self.convs = nn.ModuleList(map(ConvNormAct, widths, widths[1:]))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h / stride, w / stride)."""
        first = self.first(x)
        found, x = [self.pool(first)], self.down(first)
        for conv in self.convs:
            x = conv(x)
            found.append(x)
        return torch.cat(found, 1)


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(STDCBlock(inputs, outputs, 2), *(STDCBlock(outputs, outputs, 1) for _ in range(blocks - 1)))
