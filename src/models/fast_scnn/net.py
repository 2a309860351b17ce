"""Fast-SCNN (Poudel et al. 2019, "Fast Semantic Segmentation Network", arXiv 1902.04502)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from src.models.base import Segmenter
from src.models.layers import ConvHead, ConvNormAct, PyramidPooling, initialise, separable_conv
from src.ops.resize import resize, size_of

EXPANSION = 6
REPEATS = 3


class FastSCNN(Segmenter):
    """Three strided convolutions, a deep branch from there on, and both added (table 1).

    Features (B, 128, H/8, W/8) are the head's last activation before its 1x1 classifier. The two training-only
    heads, on which the paper gives no width, are those of mmsegmentation's implementation.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.feature_channels, self.num_classes = 128, num_classes
        self.shallow = nn.Sequential(ConvNormAct(3, 32, stride=2), separable_conv(32, 48, 2), separable_conv(48, 64, 2))
        self.deep = nn.Sequential(
            *_stage(64, 64, 2),
            *_stage(64, 96, 2),
            *_stage(96, 128, 1),
            PyramidPooling(128, 32, align_corners=False),
            ConvNormAct(256, 128),
        )
        self.from_deep = nn.Sequential(ConvNormAct(128, 128, groups=128), ConvNormAct(128, 128, 1, active=False))
        self.from_shallow = ConvNormAct(64, 128, 1, active=False)
        self.head = nn.Sequential(separable_conv(128, 128), separable_conv(128, 128), nn.Dropout2d(0.1))
        self.final_conv = nn.Conv2d(128, num_classes, 1)
        self.aux8, self.aux32 = ConvHead(64, 32, 0.1, num_classes), ConvHead(128, 32, 0.1, num_classes)
        initialise(self)

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features at stride 8; the maps "x8" of the shallow and "x32" of the deep branch."""
        x8 = self.shallow(x)
        x32 = self.deep(x8)
        fused = self.from_deep(resize(x32, size_of(x8))) + self.from_shallow(x8)
        return self.head(F.relu(fused)), {"x8": x8, "x32": x32}

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits (B, K, h, w) as "aux8" and "aux32", each at its stride."""
        return {"aux8": self.aux8(taps["x8"]), "aux32": self.aux32(taps["x32"])}


class InvertedResidual(nn.Module):
    """MobileNetV2's block: 1x1 to six times the channels, depthwise 3x3, 1x1 back; a shortcut where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = EXPANSION * inputs
        self.convs = nn.Sequential(
            ConvNormAct(inputs, wide, 1),
            ConvNormAct(wide, wide, 3, stride, groups=wide),
            ConvNormAct(wide, outputs, 1, active=False),
        )
        self.keeps_shape = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h / stride, w / stride)."""
        y: Tensor = self.convs(x)
        return x + y if self.keeps_shape else y


def _stage(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    later = [InvertedResidual(outputs, outputs, 1) for _ in range(REPEATS - 1)]
    return [InvertedResidual(inputs, outputs, stride), *later]
