"""Choose the metrics of an evaluation or a validation by configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor
from torchmetrics import Metric, MetricCollection

from src.errors import UserError

CONFUSION = "confusion"  # name of the metric that IoU is read from
ON_IMAGES = frozenset({"preds", "target", "distance"})
ON_VIDEOS = ON_IMAGES | {"video", "index"}

Makers = Mapping[str, Callable[..., Metric] | None]
Scores = dict[str, Tensor]


def build_metrics(makers: Makers, given: Collection[str], **known: Any) -> MetricCollection:
    """Build metrics, those of torchmetrics too, and leave out what cannot be computed from what updates are given.

    Each metric's `update` is called with those of these keyword arguments that it has: `preds` (B, H, W) class indices,
    `target` (B, H, W) labels with 255 = ignore, `distance` (B,) to the keyframe and, for the frames of a video one by
    one, the name of the `video` and the `index` of the frame.

    Args:
        makers: constructor of each metric by name; None leaves one out.
        given: `ON_IMAGES` or `ON_VIDEOS`.
        known: arguments that a constructor gets if it has them: `num_classes` and `distances`, as of
            `DistanceConfusion`.

    Raises:
        UserError: no metric named "confusion".
    """
    if makers.get(CONFUSION) is None:
        raise UserError("metric.confusion is missing, from which mIoU is computed; give metric=iou or metric=video")
    metrics: dict[str, Metric | MetricCollection] = {}
    for name, maker in makers.items():
        if maker is None:
            continue
        accepted = inspect.signature(maker).parameters
        metric = maker(**{key: value for key, value in known.items() if key in accepted})
        parameters = inspect.signature(metric.update).parameters.values()
        needed = {p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
        if needed <= set(given):
            metrics[name] = metric
    return MetricCollection(metrics, compute_groups=False)
