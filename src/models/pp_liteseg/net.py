"""PP-LiteSeg-B (Peng et al. 2022, "A Superior Real-Time Semantic Segmentation Model", arXiv 2204.02681)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from src.models.base import Segmenter
from src.models.layers import ConvNormAct, PyramidPooling, initialise
from src.models.stdc.backbone import CHANNELS, STDC
from src.ops.resize import resize, size_of

WIDTHS = (64, 96, 128)  # of the decoder at strides 8, 16, 32
CONTEXT = 128  # channels of the pyramid pooling
HEAD = 64  # and of each head


class PPLiteSeg(Segmenter):
    """STDC2, a pyramid pooling of sums and a decoder that widens with the stride (figure 2).

    Features (B, 64, H/8, W/8) are the head's last activation before its 1x1 classifier. As in PaddleSeg, which is
    the official code, classifiers have no bias; its biases before the batch norms of the pyramid are left out.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.feature_channels, self.num_classes = HEAD, num_classes
        self.backbone = STDC(2)
        self.context = SimplePyramidPooling(CHANNELS[-1], CONTEXT)
        self.fusions = nn.ModuleList(map(AttentionFusion, CHANNELS, (*WIDTHS[1:], CONTEXT), WIDTHS))
        self.head = ConvNormAct(WIDTHS[0], HEAD)
        self.final_conv = nn.Conv2d(HEAD, num_classes, 1, bias=False)
        self.aux16, self.aux32 = (
            nn.Sequential(ConvNormAct(width, HEAD), nn.Conv2d(HEAD, num_classes, 1, bias=False)) for width in WIDTHS[1:]
        )
        initialise(self, linear=True)

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features at stride 8, and the decoder's maps "x16" and "x32"."""
        c8, c16, c32 = self.backbone(x)
        to8, to16, to32 = self.fusions
        x32 = to32(c32, self.context(c32))
        x16 = to16(c16, x32)
        return self.head(to8(c8, x16)), {"x16": x16, "x32": x32}

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits (B, K, h, w) as "aux16" and "aux32", each at its stride."""
        return {"aux16": self.aux16(taps["x16"]), "aux32": self.aux32(taps["x32"])}


class SimplePyramidPooling(nn.Module):
    """Averages over grids of 1, 2 and 4 cells a side, added and convolved, without the map itself (figure 4)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.pyramid = PyramidPooling(inputs, outputs, (1, 2, 4), align_corners=False)
        self.last = ConvNormAct(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w)."""
        out: Tensor = self.last(torch.stack(self.pyramid.branches(x)).sum(0))
        return out


class AttentionFusion(nn.Module):
    """Unified attention fusion: a mean of two maps, weighted position by position (figure 3, spatial attention)."""

    def __init__(self, low: int, high: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvNormAct(low, high)
        self.attention = nn.Sequential(ConvNormAct(4, 2), ConvNormAct(2, 1, active=False))
        self.last = ConvNormAct(high, outputs)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """A map of the backbone (B, low, h, w) and a coarser one (B, high, h', w') to (B, outputs, h, w)."""
        fine = self.conv(low)
        coarse = resize(high, size_of(fine))
        seen = [s for x in (fine, coarse) for s in (x.mean(1, keepdim=True), x.amax(1, keepdim=True))]
        weight = self.attention(torch.cat(seen, 1)).sigmoid()
        out: Tensor = self.last(weight * fine + (1 - weight) * coarse)
        return out
