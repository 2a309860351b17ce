"""What a path of TDNet is, and the path of the PSPNet variants."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from src.models.backbones.resnet import ResNet
from src.models.layers import ConvHead, PyramidPooling
from src.models.tdnet.norm import SpatialNorm


class Path(nn.Module, ABC):
    """One of TDNet's sub-networks: a complete shallow network with its own normalisation and head.

    Attributes:
        channels: of its features, z in the paper.
        value_channels: of what its head reads.
        num_classes: K.
    """

    channels: int
    value_channels: int
    num_classes: int
    norm: nn.Module
    head: nn.Module

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features (B, channels, h, w) of a picture (B, 3, H, W) at stride 8, and what `auxiliary` reads."""

    def classify(self, values: Tensor) -> Tensor:
        """Logits (B, K, h, w) of values (B, value_channels, h, w), propagated or not."""
        logits: Tensor = self.head(self.norm(values))
        return logits

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits (B, K, h, w) of the training-only heads, by name."""
        return {}


def group_channels(channels: int, groups: int, group: int) -> list[int]:
    """The input channels of PSPNet's head that belong to a group: a slice of each part that it concatenates.

    Args:
        channels: of the backbone; the head reads as many again from four pooled branches.
        groups: number of groups.
        group: 0-based.
    """
    pooled = channels // 4
    parts = [(0, channels), *((channels + b * pooled, pooled) for b in range(4))]
    slices = [range(group * width // groups, (group + 1) * width // groups) for _, width in parts]
    return [start + i for (start, _), part in zip(parts, slices, strict=True) for i in part]


class PSPPath(Path):
    """Dilated ResNet and one group of PSPNet's pyramid pooling (official code).

    The official code pools and convolves all channels and then keeps a group of them; here only the group is
    computed, which leaves out parameters that never see a gradient.

    Args:
        num_classes: K.
        group: which of the groups of channels the features are.
        groups: number of groups.
        depth: of the ResNet; from 50 on it has the deep stem.
        value_channels: of what the head reads.
        head_channels: inside the head.
        norm_size: of the maps of `SpatialNorm`.
        auxiliary: with a head on the third stage of the ResNet for training.
        weights: ImageNet initialisation of the ResNet, see `load_backbone`.
    """

    def __init__(
        self,
        num_classes: int,
        group: int,
        groups: int,
        depth: int,
        value_channels: int,
        head_channels: int,
        norm_size: tuple[int, int],
        auxiliary: bool,
        weights: str,
    ) -> None:
        super().__init__()
        self.backbone = ResNet(depth, "multigrid", depth >= 50, weights)
        *_, middle, deep = self.backbone.channels
        self.slice = slice(group * deep // groups, (group + 1) * deep // groups)
        self.channels, self.value_channels, self.num_classes = 2 * deep // groups, value_channels, num_classes
        self.pyramid = PyramidPooling(deep, deep // 4 // groups)
        self.norm = SpatialNorm(norm_size)
        self.head = ConvHead(value_channels, head_channels, 0.1, num_classes)
        self.aux = ConvHead(middle, middle // 4, 0.1, num_classes) if auxiliary else None

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features (B, 2 * deep / groups, ceil(H/8), ceil(W/8)) and the ResNet's third stage."""
        *_, c3, c4 = self.backbone(x)
        return torch.cat([c4[:, self.slice], *self.pyramid.branches(c4)], 1), {"layer3": c3}

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits (B, K, h, w) as "aux"."""
        return {} if self.aux is None else {"aux": self.aux(taps["layer3"])}
