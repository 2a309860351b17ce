"""CGNet (Wu et al. 2021, "A Light-weight Context Guided Network for Semantic Segmentation", arXiv 1811.08201)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.base import Segmenter
from src.models.layers import conv_norm_act, initialise

WIDTHS = (32, 64, 128)  # at strides 2, 4, 8
BLOCKS = (3, 21)  # at strides 4 and 8: M and N of the paper
DILATIONS = (2, 4)
REDUCTIONS = (8, 16)  # of the weighting by channel


class CGNet(Segmenter):
    """CGNet M3N21: context guided blocks, and the shrunk image once more at strides 2 and 4 (table 1).

    Features (B, 256, H/8, W/8) are the last activation before the 1x1 classifier.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        w2, w4, w8 = WIDTHS
        self.feature_channels, self.num_classes = 2 * w8, num_classes
        self.stem = nn.Sequential(*(_conv(3 if n == 0 else w2, w2, 3, 2 if n == 0 else 1) for n in range(3)))
        self.shrink = nn.AvgPool2d(3, 2, 1)
        self.down4, *later4 = _stage(w2 + 3, w4, BLOCKS[0], DILATIONS[0], REDUCTIONS[0])
        self.down8, *later8 = _stage(2 * w4 + 3, w8, BLOCKS[1], DILATIONS[1], REDUCTIONS[1])
        self.later4, self.later8 = nn.Sequential(*later4), nn.Sequential(*later8)
        self.norm2, self.norm4, self.norm8 = _norm(w2 + 3), _norm(2 * w4 + 3), _norm(2 * w8)
        self.final_conv = nn.Conv2d(2 * w8, num_classes, 1)
        initialise(self)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-3

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features at stride 8; no taps, there is no auxiliary head."""
        half = self.shrink(x)
        first4 = self.down4(self.norm2(torch.cat([self.stem(x), half], 1)))
        x4 = torch.cat([self.later4(first4), first4, self.shrink(half)], 1)
        first8 = self.down8(self.norm4(x4))
        return self.norm8(torch.cat([first8, self.later8(first8)], 1)), {}


class ContextGuidedBlock(nn.Module):
    """Local and surrounding context side by side, weighted by the global one (figure 3).

    Args:
        inputs: channels of the map.
        outputs: channels of the result; as many as `inputs` unless `down`.
        dilation: of the convolution that sees the surroundings.
        reduction: of the channels in the global weighting.
        down: halve the resolution, without a shortcut.
    """

    def __init__(self, inputs: int, outputs: int, dilation: int, reduction: int, down: bool) -> None:
        super().__init__()
        self.down = down
        width = outputs if down else outputs // 2
        self.first = _conv(inputs, width, 3, 2) if down else _conv(inputs, width, 1, 1)
        self.local, self.surrounding = _depthwise(width, 1), _depthwise(width, dilation)
        self.norm = _norm(2 * width)
        self.project = nn.Conv2d(2 * width, outputs, 1, bias=False) if down else nn.Identity()
        self.squeeze = nn.Conv2d(outputs, outputs // reduction, 1)
        self.expand = nn.Conv2d(outputs // reduction, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w), or half of h and w."""
        first = self.first(x)
        joint = self.project(self.norm(torch.cat([self.local(first), self.surrounding(first)], 1)))
        weight = self.expand(F.relu(self.squeeze(joint.mean((2, 3), keepdim=True))))
        out: Tensor = joint * weight.sigmoid()
        return out if self.down else x + out


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return conv_norm_act(inputs, outputs, kernel, stride, nn.PReLU(outputs))


def _norm(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.PReLU(channels))


def _depthwise(channels: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, 1, dilation, dilation, channels, bias=False)


def _stage(inputs: int, outputs: int, blocks: int, dilation: int, reduction: int) -> list[ContextGuidedBlock]:
    return [
        ContextGuidedBlock(inputs if n == 0 else outputs, outputs, dilation, reduction, down=n == 0)
        for n in range(blocks)
    ]
