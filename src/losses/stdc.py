"""STDC-Seg's training loss: semantic terms and the detail loss of its spatial path."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.losses.segmentation import SegmentationLoss
from src.ops.resize import resize, size_of


class STDCLoss(SegmentationLoss):
    """Main and auxiliary terms, and cross-entropy plus Dice of the detail head (paper section 3.3).

    Args:
        main: criterion of the main logits.
        auxiliary: criteria of the context path's heads, by name.
        weight: factor of the auxiliary terms.
        detail_weight: factor of the detail loss.
    """

    def __init__(
        self, main: nn.Module, auxiliary: dict[str, nn.Module], weight: float = 1.0, detail_weight: float = 1.0
    ) -> None:
        super().__init__(main, auxiliary, weight)
        self.detail_weight = detail_weight

    def forward(self, logits: Tensor, auxiliary: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Scalar of main logits (B, K, h, w), auxiliary outputs with "boundary" (B, 1, h, w), labels (B, H, W)."""
        detail = resize(auxiliary["boundary"].float(), size_of(labels), align_corners=True)[:, 0]
        total: Tensor = super().forward(logits, auxiliary, labels) + self.detail_weight * detail_loss(
            detail, details(labels)
        )
        return total


def details(labels: Tensor) -> Tensor:
    """Bool (B, H, W): pixels where the Laplacian of the class numbers is positive, at full or at half resolution.

    The paper's third scale, a quarter, has no effect in the official code: its weight 0.1 is not above the
    threshold 0.1. As there, a change to the ignored label counts, and the image is surrounded by zeros.
    """
    numbers = labels[:, None].float()
    kernel = torch.full((1, 1, 3, 3), -1.0, device=labels.device)
    kernel[..., 1, 1] = 8.0
    full, half = (F.conv2d(numbers, kernel, stride=stride, padding=1) > 0 for stride in (1, 2))
    return (full | (F.interpolate(half.float(), size_of(labels)) > 0))[:, 0]


def detail_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy plus Dice loss of logits and bool targets (B, H, W)."""
    wanted, found = targets.float(), logits.sigmoid()
    common, either = (wanted * found).sum((1, 2)), (wanted + found).sum((1, 2))
    dice = 1 - (2 * common + 1) / (either + 1)  # one added to both, so that empty images count
    return F.binary_cross_entropy_with_logits(logits, wanted) + dice.mean()
