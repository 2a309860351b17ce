"""PIDNet (Xu et al. 2023, "A Real-time Semantic Segmentation Network Inspired by PID Controllers")."""

from __future__ import annotations

from torch import Tensor, nn

from src.models.pidnet.backbone import ThreeBranch
from src.models.rdrnet.head import Head, HeadFeatures
from src.models.rdrnet.layers import initialise
from src.models.rdrnet.net import BranchSegmenter


class BoundaryHead(Head):
    """RDRNet's head and a second training-only part: one boundary logit per pixel from the D branch."""

    def __init__(self, width: int, channels: int, num_classes: int) -> None:
        super().__init__(4 * width, 2 * width, channels, num_classes)
        self.d_head = HeadFeatures(2 * width, width)
        self.d_cls_seg = nn.Conv2d(width, 1, 1)
        initialise(self, zero_bias=False)

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """ "aux" (B, K, h, w) and "boundary" (B, 1, h, w) logits of the taps of the same size."""
        return super().auxiliary(taps) | {"boundary": self.d_cls_seg(self.d_head(taps["boundary"]))}


class PIDNet(BranchSegmenter):
    """PIDNet-S (`width` 32) or -M (64): proportional, integral and derivative branch (arXiv 2206.02066).

    Layer shapes follow the RDRNet authors' re-implementation, which the published comparison used.

    Args:
        num_classes: K.
        width: c.
        head_channels: C of the features.
        pooling_channels: width of each scale of the pyramid pooling.
    """

    def __init__(self, num_classes: int, width: int = 32, head_channels: int = 128, pooling_channels: int = 96) -> None:
        head = BoundaryHead(width, head_channels, num_classes)
        super().__init__(ThreeBranch(width, pooling_channels), head)
