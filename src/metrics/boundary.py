"""Boundary F-score: how well the contours of classes agree."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from src.data.labels import IGNORE
from src.errors import check_range


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
        check_range(0 < tolerance < 1, "metrics.boundary.tolerance", tolerance, "a number between 0 and 1")
        self.tolerance = tolerance
        self.add_state("scores", torch.zeros(2, distances, dtype=torch.float64), dist_reduce_fx="sum")  # sum, number

    def update(self, preds: Tensor, target: Tensor, distance: Tensor) -> None:
        """Score (B, H, W) class indices against labels (B, H, W), 255 = ignore, at distances (B,)."""
        for found, known, place in zip(preds.cpu(), target.cpu(), distance.tolist(), strict=True):
            scores = self._scores(np.where(known == IGNORE, IGNORE, found), known.numpy())
            if scores:
                self.scores[:, place] += torch.tensor([np.mean(scores), 1.0], device=self.scores.device)

    def compute(self) -> dict[str, Tensor]:
        """Return the mean over distances and the score at each (D,), in 0..1; NaN where no image has a boundary."""
        by_distance = self.scores[0] / self.scores[1]
        return {"boundary_f": by_distance.nanmean(), "boundary_f_by_distance": by_distance}

    def _scores(self, found: NDArray[np.int64], known: NDArray[np.int64]) -> list[float]:
        """Return F1 of each class with a boundary."""
        reach = self.tolerance * math.hypot(*known.shape)
        edges = [_boundary(found), _boundary(known)]
        one, other = (np.where(edge, labels, IGNORE) for edge, labels in zip(edges, (found, known), strict=True))
        classes = [label for label in np.union1d(one, other).tolist() if label != IGNORE]
        return [_f1(one == label, other == label, reach) for label in classes]


def _boundary(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    boundary = np.zeros(labels.shape, np.bool_)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = (labels[one] != labels[other]) & (labels[one] != IGNORE) & (labels[other] != IGNORE)
        boundary[one] |= differs
        boundary[other] |= differs
    return boundary


def _f1(found: NDArray[np.bool_], known: NDArray[np.bool_], reach: float) -> float:
    if not (found.any() and known.any()):
        return 0.0
    rows, columns = (np.flatnonzero((found | known).any(axis)) for axis in (1, 0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    precision, recall = _near(found[part], known[part], reach), _near(known[part], found[part], reach)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _near(boundary: NDArray[np.bool_], other: NDArray[np.bool_], reach: float) -> float:
    """Return the share of the pixels of a boundary that have one of another boundary within reach."""
    away = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((away[boundary] <= reach).mean())
