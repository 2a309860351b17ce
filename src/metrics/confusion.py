"""Mean intersection over union from confusion matrices, one per distance to the keyframe."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from src.data.labels import IGNORE


class DistanceConfusion(Metric):
    """Confusion matrices over a whole data set: state (D, K, K) int64, rows = label, columns = prediction.

    Sums over batches and processes, never averages of batch values; so the result does not depend on either.

    Args:
        num_classes: K.
        distances: D; distances 0..D-1 are counted.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, num_classes: int, distances: int) -> None:
        super().__init__()
        self.num_classes, self.distances = num_classes, distances
        shape = (distances, num_classes, num_classes)
        self.add_state("counts", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor, distance: Tensor) -> None:
        """Count (B, H, W) class indices against labels (B, H, W), 255 = ignore, at distances (B,)."""
        size = self.num_classes
        row = distance.view(-1, 1, 1) * size + target
        index = (row * size + preds)[target != IGNORE]
        counted = torch.bincount(index, minlength=self.distances * size * size)
        self.counts += counted.view(self.distances, size, size)

    def compute(self) -> Tensor:
        """Return the matrices (D, K, K); see `iou`."""
        return self.counts


def iou(counts: Tensor) -> Tensor:
    """Intersection over union (..., K) of confusion matrices (..., K, K); NaN for absent classes."""
    true = counts.diagonal(dim1=-2, dim2=-1).double()
    union = counts.sum(-1) + counts.sum(-2) - true
    return true / union
