"""BiSeNetV2 (Yu et al. 2021, "Bilateral Network with Guided Aggregation", arXiv 2004.02147)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.base import Segmenter
from src.models.layers import ConvHead, ConvNormAct, initialise, separable_conv
from src.ops.resize import resize, size_of

WIDTHS = (16, 32, 64, 128)  # of the semantic branch at strides 4, 8, 16, 32 (table 1)
EXPANSION = 6
BOOSTERS = (16, 64, 256, 1024)  # widths of the training-only heads


class BiSeNetV2(Segmenter):
    """A wide shallow detail branch and a narrow deep semantic branch, each guiding the other (figures 3 to 6).

    Features (B, 1024, H/8, W/8) are the head's last activation before its 1x1 classifier. Widths of the heads,
    which the paper leaves open, are those of mmsegmentation's implementation.

    Args:
        num_classes: K.
        head_channels: C of the features.
    """

    def __init__(self, num_classes: int, head_channels: int = 1024) -> None:
        super().__init__()
        self.feature_channels, self.num_classes = head_channels, num_classes
        self.detail = nn.Sequential(*_detail_stage(3, 64, 1), *_detail_stage(64, 64, 2), *_detail_stage(64, 128, 2))
        self.semantic = nn.ModuleList([Stem(WIDTHS[0]), *map(_semantic_stage, WIDTHS, WIDTHS[1:], (1, 1, 3))])
        self.context = ContextEmbedding(WIDTHS[-1])
        self.aggregation = GuidedAggregation(WIDTHS[-1])
        self.head = ConvHead(WIDTHS[-1], head_channels, 0.1)
        self.final_conv = nn.Conv2d(head_channels, num_classes, 1)
        self.boosters = nn.ModuleList(
            nn.Sequential(ConvNormAct(inputs, width), ConvHead(width, width, 0.1, num_classes))
            for inputs, width in zip(WIDTHS, BOOSTERS, strict=True)
        )
        initialise(self)

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features at stride 8, and the semantic branch's maps "x4", "x8", "x16" and "x32" for the boosters."""
        detail, taps, deep = self.detail(x), {}, x
        for stride, stage in zip((4, 8, 16, 32), self.semantic, strict=True):
            deep = taps[f"x{stride}"] = stage(deep)
        return self.head(self.aggregation(detail, self.context(deep))), taps

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits (B, K, h, w) of the boosters: "aux4", "aux8", "aux16" and "aux32", each at its stride."""
        return {f"aux{name[1:]}": head(x) for head, (name, x) in zip(self.boosters, taps.items(), strict=True)}


class Stem(nn.Module):
    """Two ways from the image to stride 4, by convolution and by pooling, joined by a convolution (figure 4a)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = ConvNormAct(3, width, stride=2)
        self.convs = nn.Sequential(ConvNormAct(width, width // 2, 1), ConvNormAct(width // 2, width, stride=2))
        self.last = ConvNormAct(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, width, H/4, W/4)."""
        x = self.first(x)
        out: Tensor = self.last(torch.cat([self.convs(x), F.max_pool2d(x, 3, 2, 1)], 1))
        return out


class GatherExpand(nn.Module):
    """Gather-and-expansion layer: 3x3, depthwise 3x3 to six times the channels, 1x1 back; a shortcut (figure 5)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = EXPANSION * inputs
        expand = [ConvNormAct(inputs, wide, stride=stride, groups=inputs, active=stride == 1)]
        if stride == 2:
            expand.append(ConvNormAct(wide, wide, groups=wide))
        self.convs = nn.Sequential(ConvNormAct(inputs, inputs), *expand, ConvNormAct(wide, outputs, 1, active=False))
        self.shortcut = separable_conv(inputs, outputs, 2, active=False) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h / stride, w / stride)."""
        return F.relu(self.convs(x) + self.shortcut(x))


class ContextEmbedding(nn.Module):
    """Adds the convolved global average to every position (figure 4b)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv_average = ConvNormAct(channels, channels, 1)
        self.last = ConvNormAct(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        out: Tensor = self.last(x + self.conv_average(self.norm(x.mean((2, 3), keepdim=True))))
        return out


class GuidedAggregation(nn.Module):
    """Bilateral guided aggregation: each branch is weighted by the other's sigmoid at its own stride (figure 6)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.detail_keep, self.semantic_keep = _guide(channels), _guide(channels)
        self.detail_down = nn.Sequential(ConvNormAct(channels, channels, stride=2, active=False), nn.AvgPool2d(3, 2, 1))
        self.semantic_up = ConvNormAct(channels, channels, active=False)
        self.last = ConvNormAct(channels, channels)

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        """Detail (B, C, h, w) and semantic map (B, C, h/4, w/4) to (B, C, h, w)."""
        size = size_of(detail)
        fine, coarse = self.detail_keep(detail), self.detail_down(detail)
        fine = fine * torch.sigmoid(resize(self.semantic_up(semantic), size))
        coarse = coarse * torch.sigmoid(self.semantic_keep(semantic))
        out: Tensor = self.last(fine + resize(coarse, size))
        return out


def _guide(channels: int) -> nn.Sequential:
    depthwise = ConvNormAct(channels, channels, groups=channels, active=False)
    return nn.Sequential(depthwise, nn.Conv2d(channels, channels, 1))


def _detail_stage(inputs: int, outputs: int, further: int) -> Sequence[nn.Module]:
    return [ConvNormAct(inputs, outputs, stride=2), *(ConvNormAct(outputs, outputs) for _ in range(further))]


def _semantic_stage(inputs: int, outputs: int, further: int) -> nn.Sequential:
    later = [GatherExpand(outputs, outputs, 1) for _ in range(further)]
    return nn.Sequential(GatherExpand(inputs, outputs, 2), *later)
