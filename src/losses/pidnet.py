"""PIDNet's training loss: two semantic terms, a boundary term and a semantic term at predicted boundaries."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.data.labels import IGNORE
from src.distributed import all_reduce_sum, rank_and_world_size
from src.losses.segmentation import SegmentationLoss
from src.ops.resize import resize, size_of


class PIDNetLoss(SegmentationLoss):
    """Equation 5 of the paper, with its factors 0.4 / 20 / 1 / 1 when `weight` is 0.4.

    Args:
        main: criterion of the main logits, also at predicted boundaries.
        auxiliary: criterion of the P branch, under the name "aux".
        weight: factor of the auxiliary term.
        boundary_weight: factor of the boundary term.
        boundary_threshold: probability above which a pixel counts as a predicted boundary.
        thickness: of the boundary targets, in pixels.
    """

    def __init__(
        self,
        main: nn.Module,
        auxiliary: dict[str, nn.Module],
        weight: float = 0.4,
        boundary_weight: float = 20.0,
        boundary_threshold: float = 0.8,
        thickness: int = 4,
    ) -> None:
        super().__init__(main, auxiliary, weight)
        self.boundary_weight, self.boundary_threshold = boundary_weight, boundary_threshold
        self.thickness = thickness

    def forward(self, logits: Tensor, auxiliary: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Scalar of main logits (B, K, h, w), outputs "aux" and "boundary", and labels (B, H, W)."""
        size = size_of(labels)
        boundary = resize(auxiliary["boundary"], size)[:, 0]
        predicted = torch.sigmoid(boundary.detach()) > self.boundary_threshold
        at_boundaries = self.main(resize(logits, size), labels.masked_fill(~predicted, IGNORE))
        edges = self.boundary_weight * balanced_bce(boundary, boundaries(labels, self.thickness))
        total: Tensor = super().forward(logits, auxiliary, labels) + edges + at_boundaries
        return total


def boundaries(labels: Tensor, thickness: int) -> Tensor:
    """Bool (B, H, W): pixels of labels (B, H, W) in a band of `thickness` along every change of label.

    The official code runs a Canny filter and dilates by 4 x 4. Here a pixel that differs from its
    right or lower neighbour is an edge, dilated by the same amount; a change to the ignored label counts too.
    """
    edge = torch.zeros_like(labels, dtype=torch.bool)
    edge[:, :, :-1] |= labels[:, :, 1:] != labels[:, :, :-1]
    edge[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    before, after = (thickness - 1) // 2, thickness // 2
    padded = F.pad(edge[:, None].float(), (before, after, before, after))
    return F.max_pool2d(padded, thickness, stride=1)[:, 0] > 0


def balanced_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of logits and bool targets (B, H, W), each side weighted by the other's share.

    Shares are those of the batches of all processes, which are equally large.
    """
    share = all_reduce_sum(targets.sum()) / (targets.numel() * rank_and_world_size()[1])
    weights = torch.where(targets, 1 - share, share)
    return F.binary_cross_entropy_with_logits(logits.float(), targets.float(), weights)
