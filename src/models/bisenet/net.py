"""BiSeNet (Yu et al. 2018) on a ResNet-18, in the form AR-Seg uses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.backbones.resnet import ResNet
from src.models.base import Segmenter
from src.models.layers import ConvNormAct, initialise
from src.ops.resize import resize, size_of


class BiSeNet(Segmenter):
    """Spatial path and context path, joined at stride 8.

    Features (B, 256, H/8, W/8) are the head's last activation before its 1x1 classifier.

    Args:
        num_classes: K.
        weights: ImageNet initialisation of the ResNet, see `load_backbone`.
    """

    def __init__(self, num_classes: int, weights: str = "none") -> None:
        super().__init__()
        self.feature_channels, self.num_classes = 256, num_classes
        self.context = ContextPath(weights)
        self.spatial = SpatialPath()
        self.fusion = FeatureFusion(256, 256)
        self.head = ConvNormAct(256, 256)
        self.final_conv = nn.Conv2d(256, num_classes, 1)
        self.aux16 = nn.Sequential(ConvNormAct(128, 64), nn.Conv2d(64, num_classes, 1))
        self.aux32 = nn.Sequential(ConvNormAct(128, 64), nn.Conv2d(64, num_classes, 1))
        initialise(self, linear=True, but=("context.resnet.",))

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features at stride 8, and the context path's maps "x8" and "x16" for the auxiliary heads."""
        x8, x16 = self.context(x)
        # The context path rounds up at stride 16: odd sizes leave it one cell larger than the spatial path.
        spatial = resize(self.spatial(x), size_of(x8), align_corners=True)
        return self.head(self.fusion(spatial, x8)), {"x8": x8, "x16": x16}

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits (B, K, h, w): "aux16" from the map at stride 8 and "aux32" from the one at stride 16."""
        return {"aux16": self.aux16(taps["x8"]), "aux32": self.aux32(taps["x16"])}


class ContextPath(nn.Module):
    """ResNet-18 with attention refinement of its two deepest maps and a global average (section 3.2)."""

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.resnet = ResNet(18, weights=weights)
        self.arm16 = AttentionRefinement(256, 128)
        self.arm32 = AttentionRefinement(512, 128)
        self.conv_head32 = ConvNormAct(128, 128)
        self.conv_head16 = ConvNormAct(128, 128)
        self.conv_avg = ConvNormAct(512, 128, kernel=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, 128, h, w) at strides 8 and 16."""
        _, _, c16, c32 = self.resnet(x)
        deep = self.arm32(c32) + self.conv_avg(c32.mean((2, 3), keepdim=True))
        deep = resize(F.interpolate(deep, scale_factor=2.0), size_of(c16), align_corners=True)
        x16 = self.conv_head32(deep)
        x8 = self.conv_head16(F.interpolate(self.arm16(c16) + x16, scale_factor=2.0))
        return x8, x16


class SpatialPath(nn.Module):
    """Three strided convolutions that keep detail (section 3.1)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(3, 64, kernel=7, stride=2)
        self.conv2 = ConvNormAct(64, 64, stride=2)
        self.conv3 = ConvNormAct(64, 64, stride=2)
        self.conv_out = ConvNormAct(64, 128, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 128, H/8, W/8)."""
        out: Tensor = self.conv_out(self.conv3(self.conv2(self.conv1(x))))
        return out


class AttentionRefinement(nn.Module):
    """A 3x3 convolution whose channels are weighted by their global average (section 3.2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvNormAct(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w)."""
        features: Tensor = self.conv(x)
        weight = self.bn_atten(self.conv_atten(features.mean((2, 3), keepdim=True)))
        refined: Tensor = features * weight.sigmoid()
        return refined


class FeatureFusion(nn.Module):
    """Joins both paths and adds a channel-weighted copy (section 3.3, with one convolution as weighting)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convblk = ConvNormAct(inputs, outputs, kernel=1)
        self.conv = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        """Two maps (B, inputs / 2, h, w) -> (B, outputs, h, w)."""
        features: Tensor = self.convblk(torch.cat([spatial, context], dim=1))
        weight = self.bn(self.conv(features.mean((2, 3), keepdim=True)))
        fused: Tensor = features * weight.sigmoid() + features
        return fused
