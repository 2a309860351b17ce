"""Boundary F1, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from src.errors import UserError
from src.metrics.boundary import BoundaryScore

# 6x8 with a diagonal of 10: class 0 on the left of class 1
TARGET = np.repeat([[0, 0, 0, 0, 1, 1, 1, 1]], 6, 0)


def score(found: np.ndarray, known: np.ndarray, tolerance: float = 0.1) -> float:
    metric = BoundaryScore(1, tolerance)
    metric.update(torch.as_tensor(found)[None], torch.as_tensor(known)[None], torch.tensor([0]))
    return float(metric.compute()["boundary_f"])


def test_boundaries_match_within_the_tolerance() -> None:
    assert score(TARGET, TARGET, 0.001) == 1
    shifted = np.roll(TARGET, 1, 1)
    shifted[:, 0] = 0
    assert score(shifted, TARGET, 0.1) == 1, "one pixel away"
    assert score(shifted, TARGET, 0.09) == 0


def test_precision_and_recall_by_hand() -> None:
    found = TARGET.copy()
    found[3:, 4:7] = 0  # three rows too far to the right
    # Of class 0: 8 predicted pixels, of which the upper 3 and (3, 4) are near; of 6 true ones the upper 4
    precision, recall = 4 / 8, 4 / 6
    assert score(found, TARGET) == pytest.approx(2 * precision * recall / (precision + recall))


def test_a_class_on_one_side_alone_counts_as_missed() -> None:
    found = TARGET.copy()
    found[0, 7] = 2  # nowhere near the border of 0 and 1
    with_third = score(found, TARGET)
    # class 0 as before; class 1 gains two false boundary pixels in 8; class 2 has no true one
    precision = 6 / 8
    assert with_third == pytest.approx((1 + 2 * precision / (precision + 1) + 0) / 3)


def test_ignored_pixels_do_not_count() -> None:
    known = TARGET.copy()
    known[2:4, 1:6] = 255
    noisy = np.where(known == 255, np.arange(8) % 3, TARGET)
    assert score(TARGET, known) == score(noisy, known) == 1


def test_images_are_averaged_at_each_distance() -> None:
    metric = BoundaryScore(3, 0.1)
    far = np.repeat([[0] * 7 + [1]], 6, 0)
    for found, distance in ((TARGET, 0), (far, 0), (far, 2)):
        metric.update(torch.as_tensor(found)[None], torch.as_tensor(TARGET)[None], torch.tensor([distance]))
    plain = np.zeros_like(TARGET)
    metric.update(torch.as_tensor(plain)[None], torch.as_tensor(plain)[None], torch.tensor([0]))  # has no boundary
    scores = metric.compute()
    assert scores["boundary_f_by_distance"].nan_to_num(-1).tolist() == [0.5, -1, 0]
    assert scores["boundary_f"] == 0.25


def test_tolerance_is_checked() -> None:
    with pytest.raises(UserError, match=r"metric\.boundary\.tolerance=2"):
        BoundaryScore(1, 2)
