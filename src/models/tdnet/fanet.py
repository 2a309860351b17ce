"""The path of TD2-FA18."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.backbones.resnet import BasicBlock, ResNet
from src.models.base import resize
from src.models.tdnet.norm import SpatialNorm
from src.models.tdnet.paths import Path


class FAPath(Path):
    """FANet-18 (Hu et al. 2020, "Real-time Semantic Segmentation with Fast Attention") at strides 8 to 64.

    After the official code's `td2_fa`, with ReLU in place of leaky ReLU inside the ResNet and without the
    convolutions and the auxiliary head whose outputs it never uses.

    Args:
        num_classes: K.
        norm_size: of the maps of `SpatialNorm`; the official ones are (96, 192).
        weights: ImageNet initialisation of the ResNet, see `load_backbone`.
    """

    def __init__(self, num_classes: int, norm_size: tuple[int, int], weights: str) -> None:
        super().__init__()
        self.channels = self.value_channels = 256
        self.num_classes = num_classes
        self.backbone = ResNet(18, weights=weights)
        _halve_first_stage(self.backbone)
        self.attentions = nn.ModuleList(FastAttention(c) for c in self.backbone.channels)
        self.up = nn.ModuleList(_unit(c, c // 2, 1) for c in self.backbone.channels[1:])
        self.smooth = nn.ModuleList(_unit(c, 128, 3) for c in self.backbone.channels[::2])
        self.norm = SpatialNorm(norm_size)
        self.head = nn.Sequential(_unit(256, 256, 3), nn.Conv2d(256, num_classes, 1, bias=False))

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features (B, 256, ceil(H/8), ceil(W/8)); no taps."""
        maps = [attend(c) for attend, c in zip(self.attentions, self.backbone(x), strict=True)]
        for level in (2, 1, 0):
            from_above = self.up[level](maps[level + 1])
            maps[level] = maps[level] + resize(from_above, _size(maps[level]), align_corners=True)
        fine, coarse = self.smooth[0](maps[0]), self.smooth[1](maps[2])
        return torch.cat([resize(coarse, _size(fine), align_corners=True), fine], 1), {}


class FastAttention(nn.Module):
    """Attention with cosine similarities in place of softmax: linear in the number of positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = _linear(channels, 32)
        self.key = _linear(channels, 32)
        self.value = _unit(channels, channels, 1)
        self.out = _unit(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w), with what every position gathered added."""
        query = F.normalize(self.query(x).flatten(2), dim=1)
        key = F.normalize(self.key(x).flatten(2), dim=1)
        context = self.value(x).flatten(2) @ key.transpose(1, 2)
        gathered: Tensor = self.out((context @ query).reshape(x.shape))
        return gathered + x


def _halve_first_stage(net: ResNet) -> None:
    """Give the first stage stride 2, which the official code does and ImageNet weights do not know of."""
    block = cast(BasicBlock, net.layer1[0])
    block.conv1.stride = (2, 2)
    block.downsample = _linear(64, 64, stride=2)


def _linear(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def _unit(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.LeakyReLU())


def _size(x: Tensor) -> tuple[int, int]:
    return int(x.shape[-2]), int(x.shape[-1])
