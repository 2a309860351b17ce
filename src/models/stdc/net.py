"""STDC-Seg (Fan et al. 2021, "Rethinking BiSeNet For Real-time Semantic Segmentation", arXiv 2104.13188)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.base import Segmenter
from src.models.bisenet.net import AttentionRefinement
from src.models.layers import ConvHead, ConvNormAct, initialise
from src.models.stdc.backbone import CHANNELS, STDC
from src.ops.resize import size_of


class STDCSeg(Segmenter):
    """BiSeNet's context path on an STDC backbone, whose own stage 3 is the spatial path (figure 4).

    STDC-Seg50 and -Seg75 are this network on images of 0.5 and 0.75 of the size. Features (B, 256, H/8, W/8) are
    the head's last activation before its 1x1 classifier. The head's dropout is mmsegmentation's; the original code
    has none.

    Args:
        num_classes: K.
        variant: of the backbone, 1 or 2.

    Raises:
        UserError: an unknown variant.
    """

    def __init__(self, num_classes: int, variant: int) -> None:
        super().__init__()
        self.feature_channels, self.num_classes = 256, num_classes
        self.backbone = STDC(variant)
        x8, x16, x32 = CHANNELS
        self.conv_average = ConvNormAct(x32, 128, 1)
        self.refine16, self.refine32 = AttentionRefinement(x16, 128), AttentionRefinement(x32, 128)
        self.up16, self.up8 = ConvNormAct(128, 128), ConvNormAct(128, 128)
        self.fusion = FeatureFusion(x8 + 128, 256)
        self.head = ConvHead(256, 256, 0.1)
        self.final_conv = nn.Conv2d(256, num_classes, 1)
        self.aux16, self.aux32 = ConvHead(128, 64, 0.1, num_classes), ConvHead(128, 64, 0.1, num_classes)
        self.detail = ConvHead(x8, 64, 0.1, 1)
        initialise(self, linear=True)

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features at stride 8; the backbone's "spatial" map and the context path's "x8" and "x16"."""
        spatial, c16, c32 = self.backbone(x)
        deep = self.conv_average(c32.mean((2, 3), keepdim=True)) + self.refine32(c32)
        x16 = self.up16(F.interpolate(deep, size_of(c16)))
        x8 = self.up8(F.interpolate(self.refine16(c16) + x16, size_of(spatial)))
        return self.head(self.fusion(spatial, x8)), {"spatial": spatial, "x8": x8, "x16": x16}

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits "aux16" of the map at stride 8 and "aux32" of stride 16, as BiSeNet's; "boundary" (B, 1, H/8, W/8)."""
        return {
            "aux16": self.aux16(taps["x8"]),
            "aux32": self.aux32(taps["x16"]),
            "boundary": self.detail(taps["spatial"]),
        }


class FeatureFusion(nn.Module):
    """Joins both paths and adds a copy weighted by channel, through a bottleneck of a quarter of the channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.join = ConvNormAct(inputs, outputs, 1)
        self.squeeze = nn.Conv2d(outputs, outputs // 4, 1, bias=False)
        self.expand = nn.Conv2d(outputs // 4, outputs, 1, bias=False)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        """Two maps of together `inputs` channels to (B, outputs, h, w)."""
        features: Tensor = self.join(torch.cat([spatial, context], 1))
        weight = self.expand(F.relu(self.squeeze(features.mean((2, 3), keepdim=True))))
        fused: Tensor = features * weight.sigmoid() + features
        return fused
