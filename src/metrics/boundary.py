"""Boundary F-score: how well the contours of classes agree."""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from src.data.labels import IGNORE
from src.errors import check_range

TINY = np.finfo(np.float64).tiny  # against division by zero


class BoundaryScore(Metric):
    """Boundary F1 score BF (Csurka et al., What is a good evaluation measure for semantic segmentation, BMVC 2013).

    The boundary of a class are its pixels beside a pixel (above, below, left, right) of another class. Precision is the
    share of the predicted boundary within the tolerance of the true one, recall the share of the true boundary
    within the tolerance of the predicted one; their harmonic mean is averaged over the classes that have a boundary in
    the labels or the prediction of an image, then over images. Ignored pixels have no boundary, nor any beside them.

    Args:
        distances: D; distances 0..D-1 to the keyframe are scored apart.
        tolerance: Euclidean distance, as a fraction of the diagonal of the image.

    Raises:
        UserError: a tolerance that is not above 0 and below 1.
    """

    full_state_update = False
    scores: Tensor

    def __init__(self, distances: int, tolerance: float) -> None:
        super().__init__()
        check_range(0 < tolerance < 1, "metric.boundary.tolerance", tolerance, "a number between 0 and 1")
        self.tolerance = tolerance
        self.add_state("scores", torch.zeros(2, distances, dtype=torch.float64), dist_reduce_fx="sum")  # sum, number

    def update(self, preds: Tensor, target: Tensor, distance: Tensor) -> None:
        """Score (B, H, W) class indices against labels (B, H, W), 255 = ignore, at distances (B,)."""
        labels, ignored = target.byte(), target == IGNORE
        found = preds.byte().masked_fill(ignored, IGNORE)
        for one, known, place in zip(found.cpu().numpy(), labels.cpu().numpy(), distance.tolist(), strict=True):
            scores = self._scores(one, known)
            if len(scores):
                self.scores[:, place] += torch.tensor(
                    [np.mean(scores), 1], dtype=torch.float64, device=self.scores.device
                )

    def compute(self) -> dict[str, Tensor]:
        """Return the mean over distances and the score at each (D,), in 0..1; NaN where no image has a boundary."""
        by_distance = self.scores[0] / self.scores[1]
        return {"boundary_f": by_distance.nanmean(), "boundary_f_by_distance": by_distance}

    def _scores(self, found: NDArray[np.uint8], known: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return F1 of each class with a boundary."""
        one, other = _boundary(found), _boundary(known)
        disk = _disk(self.tolerance * math.hypot(*known.shape))
        (near_one, all_one), (near_other, all_other) = _matched(one, other, disk), _matched(other, one, disk)
        has = (all_one + all_other) > 0
        precision, recall = near_one[has] / np.maximum(all_one[has], 1), near_other[has] / np.maximum(all_other[has], 1)
        return np.asarray(2 * precision * recall / np.maximum(precision + recall, TINY), np.float64)


def _boundary(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the class (H, W) of pixels beside one of another class, and 255 elsewhere."""
    boundary = np.zeros(labels.shape, np.bool_)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = (labels[one] != labels[other]) & (labels[one] != IGNORE) & (labels[other] != IGNORE)
        boundary[one] |= differs
        boundary[other] |= differs
    return np.where(boundary, labels, np.uint8(IGNORE))


def _disk(reach: float) -> NDArray[np.int64]:
    """Return rows and columns (N, 2) within reach of a pixel, the nearest first."""
    side = np.arange(-math.floor(reach), math.floor(reach) + 1)
    offsets = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    away = np.hypot(*offsets.T)
    order = np.argsort(away, kind="stable")
    near: NDArray[np.int64] = offsets[order[away[order] <= reach]]
    return near


@njit(cache=True, nogil=True, error_model="numpy")
def _matched(
    boundary: NDArray[np.uint8], other: NDArray[np.uint8], disk: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count by class (256,) the pixels of a boundary with one of the other within the disk, and all of them."""
    near, total = np.zeros(256, np.int64), np.zeros(256, np.int64)
    height, width = boundary.shape
    for row in range(height):
        for column in range(width):
            label = boundary[row, column]
            if label == IGNORE:
                continue
            total[label] += 1
            for n in range(len(disk)):
                y, x = row + disk[n, 0], column + disk[n, 1]
                if 0 <= y < height and 0 <= x < width and other[y, x] == label:
                    near[label] += 1
                    break
    return near, total
