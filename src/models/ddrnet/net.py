"""DDRNet (Hong et al. 2021, "Deep Dual-resolution Networks", arXiv 2101.06085)."""

from __future__ import annotations

from torch import nn

from src.models.layers import ConvNormAct, initialise
from src.models.rdrnet.backbone import TwoBranch, bottleneck_stages
from src.models.rdrnet.layers import basic_blocks
from src.models.rdrnet.net import BranchSegmenter, Head
from src.models.rdrnet.pooling import DAPPM


class DDRNet(BranchSegmenter):
    """DDRNet-23: two basic blocks a stage, one bottleneck at the end of either branch, DAPPM (table 1).

    The body is RDRNet's with plain blocks: parameter names follow RDRNet, not the published DDRNet files.

    Args:
        num_classes: K.
        width: c, 32 (DDRNet-23-slim) or 64 (DDRNet-23).
        head_channels: C of the features, 64 or 128.
        pooling_channels: width of each scale of the pyramid pooling.
    """

    def __init__(self, num_classes: int, width: int, head_channels: int, pooling_channels: int = 128) -> None:
        semantic = [basic_blocks(2 * width, 4 * width, 2, 2), basic_blocks(4 * width, 8 * width, 2, 2)]
        detail = [basic_blocks(2 * width, 2 * width, 2, 1) for _ in range(2)]
        pooling = DAPPM(16 * width, pooling_channels, 4 * width)
        stem, last = plain_stem(width, 2), bottleneck_stages(width, 1, 1)
        backbone = TwoBranch(width, stem, [*semantic, last[0]], [*detail, last[1]], pooling, True, True)
        initialise(backbone, zero_bias=True)
        super().__init__(backbone, Head(4 * width, 2 * width, head_channels, num_classes))


def plain_stem(width: int, blocks: int) -> nn.Sequential:
    """Stages 1-3 of DDRNet and PIDNet: (B, 3, H, W) to (B, 2c, H/8, W/8)."""
    return nn.Sequential(
        ConvNormAct(3, width, 3, stride=2),
        ConvNormAct(width, width, 3, stride=2),
        basic_blocks(width, width, blocks, 1),
        nn.ReLU(),
        basic_blocks(width, 2 * width, blocks, 2),
        nn.ReLU(),
    )
