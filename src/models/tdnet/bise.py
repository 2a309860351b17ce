"""The path of TD4-Bise18."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.bisenet.net import ContextPath
from src.models.layers import ConvNormAct
from src.models.tdnet.paths import Path


class BisePath(Path):
    """BiSeNet on a ResNet-18 whose stride-8 map stands in for the spatial path.

    After the official code's removed `BiSeNet_4p` (its commit 21f0a3f), with ReLU in place of leaky ReLU. The
    weights of the channel attention that only scale the other path's half are left out.

    Args:
        num_classes: K.
        half: 0 or 1, which half of the fused channels the features are.
        auxiliary: with heads on both maps of the context path for training.
        weights: ImageNet initialisation of the ResNet, see `load_backbone`.
    """

    def __init__(self, num_classes: int, half: int, auxiliary: bool, weights: str) -> None:
        super().__init__()
        self.channels = self.value_channels = 128
        self.num_classes = num_classes
        self.slice = slice(128 * half, 128 * (half + 1))
        self.context = ContextPath(weights)
        self.fuse = ConvNormAct(256, 256, kernel=1)
        self.attention = nn.Sequential(
            nn.Conv2d(256, 64, 1, bias=False), nn.ReLU(), nn.Conv2d(64, 128, 1, bias=False), nn.Sigmoid()
        )
        self.norm = nn.GroupNorm(128, 128)
        self.head = _head(128, 256, num_classes)
        names = ("aux16", "aux32") if auxiliary else ()
        self.aux = nn.ModuleDict({name: _head(128, 64, num_classes) for name in names})

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features (B, 128, ceil(H/8), ceil(W/8)), and the context path's maps at strides 8 and 16."""
        _, c8, c16, c32 = self.context.resnet(x)
        average = self.context.conv_avg(c32.mean((2, 3), keepdim=True))
        x16 = self.context.conv_head32(_enlarge(self.context.arm32(c32) + average, c16))
        x8 = self.context.conv_head16(_enlarge(self.context.arm16(c16) + x16, c8))
        fused: Tensor = self.fuse(torch.cat([c8, x8], 1))
        weight = self.attention(fused.mean((2, 3), keepdim=True))
        return fused[:, self.slice] * (1 + weight), {"aux16": x8, "aux32": x16}

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits (B, K, h, w): "aux16" at stride 8 and "aux32" at stride 16, official names."""
        return {name: head(taps[name]) for name, head in self.aux.items()}


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=(int(like.shape[-2]), int(like.shape[-1])), mode="nearest")


def _head(inputs: int, width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(ConvNormAct(inputs, width), nn.Conv2d(width, classes, 1, bias=False))
