"""The sub-networks of TDNet, one per path: on PSPNet, on BiSeNet and on FANet."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.backbones.resnet import BasicBlock, ResNet
from src.models.base import FeatureNetwork
from src.models.bisenet.net import ContextPath
from src.models.layers import ConvHead, ConvNormAct, PyramidPooling, conv_norm_act
from src.ops.resize import resize, size_of


class SubNetwork(FeatureNetwork):
    """One of TDNet's sub-networks: a complete shallow network with its own normalisation and head.

    Attributes:
        channels: of its features, z in the paper.
        value_channels: of what its head reads.
    """

    channels: int
    value_channels: int
    norm: nn.Module
    head: nn.Module

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, K, h, w) of values (B, value_channels, h, w), propagated or not."""
        logits: Tensor = self.head(self.norm(features))
        return logits


class PSPPath(SubNetwork):
    """Dilated ResNet and one group of PSPNet's pyramid pooling (official code).

    The official code pools and convolves all channels and then keeps a group of them; here only the group is
    computed, which leaves out parameters that never see a gradient.

    Args:
        num_classes: K.
        group: which of the groups of channels the features are.
        groups: number of groups; where they do not divide the channels, groups differ by one.
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
        self.group, self.groups = group, groups
        self.slice = slice(group * deep // groups, (group + 1) * deep // groups)
        self.channels = len(group_channels(deep, groups, group))
        self.value_channels, self.num_classes = value_channels, num_classes
        self.pyramid = PyramidPooling(deep, (self.channels - self.slice.stop + self.slice.start) // 4)
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


class BisePath(SubNetwork):
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
        x16 = self.context.conv_head32(_upsample_nearest(self.context.arm32(c32) + average, c16))
        x8 = self.context.conv_head16(_upsample_nearest(self.context.arm16(c16) + x16, c8))
        fused: Tensor = self.fuse(torch.cat([c8, x8], 1))
        weight = self.attention(fused.mean((2, 3), keepdim=True))
        return fused[:, self.slice] * (1 + weight), {"aux16": x8, "aux32": x16}

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits (B, K, h, w): "aux16" at stride 8 and "aux32" at stride 16, official names."""
        return {name: head(taps[name]) for name, head in self.aux.items()}


class FAPath(SubNetwork):
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
        self.up = nn.ModuleList(_unit(c, c // 2) for c in self.backbone.channels[1:])
        self.smooth = nn.ModuleList(_unit(c, 128, 3) for c in self.backbone.channels[::2])
        self.norm = SpatialNorm(norm_size)
        self.head = nn.Sequential(_unit(256, 256, 3), nn.Conv2d(256, num_classes, 1, bias=False))

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features (B, 256, ceil(H/8), ceil(W/8)); no taps."""
        maps = [attend(c) for attend, c in zip(self.attentions, self.backbone(x), strict=True)]
        for level in (2, 1, 0):
            from_above = self.up[level](maps[level + 1])
            maps[level] = maps[level] + resize(from_above, size_of(maps[level]), align_corners=True)
        fine, coarse = self.smooth[0](maps[0]), self.smooth[1](maps[2])
        return torch.cat([resize(coarse, size_of(fine), align_corners=True), fine], 1), {}


class SpatialNorm(nn.Module):
    """Normalises each channel over its positions; a map scales and another shifts each position.

    The official code's layer norm over the two spatial axes. There its maps, the same for all channels, tie a
    network to one input size; here they are resized (bilinear, corners aligned) to the features they meet.

    Args:
        size: (h, w) of the two maps; (97, 193) are the official ones, features of 769x1537 images.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(*size))
        self.bias = nn.Parameter(torch.zeros(*size))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) of any size, normalised."""
        size = size_of(x)
        maps = torch.stack([self.weight, self.bias])[None]
        scale, shift = resize(maps, size, align_corners=True)[0]
        out: Tensor = F.layer_norm(x, size) * scale + shift
        return out


class FastAttention(nn.Module):
    """Attention with cosine similarities in place of softmax: linear in the number of positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = conv_norm_act(channels, 32)
        self.key = conv_norm_act(channels, 32)
        self.value = _unit(channels, channels)
        self.out = _unit(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w), with what every position gathered added."""
        query = F.normalize(self.query(x).flatten(2), dim=1)
        key = F.normalize(self.key(x).flatten(2), dim=1)
        context = self.value(x).flatten(2) @ key.transpose(1, 2)
        gathered: Tensor = self.out((context @ query).reshape(x.shape))
        return gathered + x


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


def _halve_first_stage(net: ResNet) -> None:
    """Give the first stage stride 2 as in the official code; ImageNet weights are trained without it."""
    block = cast(BasicBlock, net.layer1[0])
    block.conv1.stride = (2, 2)
    block.downsample = conv_norm_act(64, 64, stride=2)


def _head(inputs: int, width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(ConvNormAct(inputs, width), nn.Conv2d(width, classes, 1, bias=False))


def _unit(inputs: int, outputs: int, kernel: int = 1) -> nn.Sequential:
    return conv_norm_act(inputs, outputs, kernel, activation=nn.LeakyReLU())


def _upsample_nearest(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=size_of(like), mode="nearest")
