"""Scores as plain data: the rows of `metrics.json`."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from src.data.labels import ClassSet
from src.evaluation.scoring import System
from src.metrics.confusion import DistanceConfusion, iou
from src.metrics.cost import inference_cost


def result_of(
    system: System, metric: DistanceConfusion, classes: ClassSet, size: tuple[int, int], gop: int
) -> dict[str, Any]:
    """One row of `metrics.json`: IoU in 0..1, null for classes that never occur; GMACs per frame.

    Args:
        system: that was scored.
        metric: its confusion matrices.
        classes: of the data set.
        size: (height, width) of the images before they are fitted to the size of the training.
        gop: frames from keyframe to keyframe; 1: each image is a keyframe.
    """
    scores = iou(metric.counts)  # `compute` would sum over processes once more
    by_distance = scores.nanmean(1)
    height, width = system.fit.size(*size) if system.fit else size
    cost = inference_cost(system.network, (height, width), gop)
    later = cost.gmacs_key if gop == 1 or cost.gmacs_nonkey is None else cost.gmacs_nonkey
    return {
        "method": system.network.method,
        "scale": system.network.scale,
        "network": system.architecture,
        "checkpoint": system.checkpoint,
        "miou": float(by_distance.nanmean()),
        "miou_by_distance": [round(float(v), 6) for v in by_distance],
        "iou": dict(zip(classes.names, _numbers(scores.nanmean(0)), strict=True)),
        "iou_by_distance": dict(zip(classes.names, (_numbers(row) for row in scores.T), strict=True)),
        "confusion": metric.counts.tolist(),
        "gmacs": {
            "key": cost.gmacs_key,
            "nonkey": later,
            "amortised": cost.gmacs_key if gop == 1 else cost.gmacs_amortised,
        },
        "height": height,
        "width": width,
    }


def _numbers(values: Tensor) -> list[float | None]:
    return [None if math.isnan(v) else v for v in map(float, values)]
