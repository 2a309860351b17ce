"""Metrics are chosen by configuration, those of torchmetrics among them."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy

from src.errors import UserError
from src.metrics.collection import ON_IMAGES, ON_VIDEOS, build_metrics
from tests.support.scores import IOU, configured

KNOWN = {"num_classes": 3, "distances": 2}


def test_each_metric_gets_what_it_asks_for() -> None:
    accuracy = partial(MulticlassAccuracy, average="micro", ignore_index=255)
    metrics = build_metrics({**configured("video"), "accuracy": accuracy}, ON_VIDEOS, **KNOWN)
    labels = torch.tensor([[[0, 1], [2, 255]]])
    for index in range(3):
        place = {"distance": torch.tensor([index % 2]), "video": "a", "index": index}
        metrics.update(preds=torch.tensor([[[0, 1], [1, 1]]]), target=labels, **place)
    scores = metrics.compute()
    assert scores["confusion"].sum((1, 2)).tolist() == [6, 3]
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert {"vc8", "vc8_corrected", "vc16", "vc16_corrected", "boundary_f", "boundary_f_by_distance"} <= scores.keys()


def test_still_images_have_no_consistency() -> None:
    assert set(build_metrics(configured("video"), ON_IMAGES, **KNOWN)) == {"confusion", "boundary"}


def test_one_can_be_left_out_but_not_the_confusion_matrices() -> None:
    assert set(build_metrics({**configured("video"), "boundary": None}, ON_VIDEOS, **KNOWN)) == {
        "confusion",
        "consistency",
    }
    assert set(build_metrics(IOU, ON_VIDEOS, **KNOWN)) == {"confusion"}
    with pytest.raises(UserError, match="give metric=iou"):
        build_metrics({"confusion": None}, ON_IMAGES, **KNOWN)
