"""Scores as plain data: the rows of `metrics.json`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from src.data.labels import ClassSet
from src.evaluation.systems import System
from src.inference.spending import Budget, Spending, joined
from src.metrics.collection import CONFUSION
from src.metrics.confusion import iou
from src.metrics.cost import frame_costs, inference_cost

DIGITS = 9
MACHINE = ("ckpt_path", "paths", "root", "cache", "archive", "workers", "accelerator", "devices", "logger", "callbacks")
NOT_OF_THE_RECIPE = ("seed", *MACHINE)


def result_of(
    system: System,
    computed: Mapping[str, Tensor],
    classes: ClassSet,
    size: tuple[int, int],
    gop: int,
    spendings: Sequence[Spending] = (),
) -> dict[str, Any]:
    """One row of `metrics.json`: IoU in 0..1, null for classes that never occur; GMACs per frame.

    Args:
        system: that was scored.
        computed: its metrics by name, the confusion matrices (D, K, K) among them; (K,) are taken as of the classes.
        classes: of the data set.
        size: (height, width) of the images before they are fitted to the size of the training.
        gop: frames from keyframe to keyframe; 1: each image is a keyframe.
        spendings: of a system with a budget, on each clip.
    """
    counts = computed[CONFUSION]
    scores = iou(counts)
    by_distance = scores.nanmean(1)
    height, width = system.fit.size(*size) if system.fit else size
    cost = inference_cost(system.network, (height, width), gop)
    later = cost.gmacs_key if gop == 1 or cost.gmacs_nonkey is None else cost.gmacs_nonkey
    spent = None if system.budget is None else joined(spendings)
    amortised = cost.gmacs_key if gop == 1 else cost.gmacs_amortised
    if system.two_sided:
        later *= 2
        amortised = (cost.gmacs_key + (gop - 1) * later) / gop
    if spent is not None:
        amortised = spent.gmacs(lambda: frame_costs(system.network, (height, width)))
    return {
        "method": system.method,
        "scale": system.network.scale,
        "network": system.architecture,
        "checkpoint": system.checkpoint,
        "miou": float(by_distance.nanmean()),
        "miou_worst": _number(by_distance.nan_to_num(torch.inf).min()) if scores.isfinite().any() else None,
        "miou_by_distance": [round(float(v), 6) for v in by_distance],
        "iou": dict(zip(classes.names, _numbers(scores.nanmean(0)), strict=True)),
        "iou_by_distance": dict(zip(classes.names, (_numbers(row) for row in scores.T), strict=True)),
        "pixel_accuracy": _number(counts.diagonal(dim1=-2, dim2=-1).sum() / counts.sum()),
        "metrics": {name: _plain(value, classes) for name, value in computed.items() if name != CONFUSION},
        "confusion": counts.tolist(),
        "gmacs": {
            "key": cost.gmacs_key,
            "nonkey": later,
            "amortised": amortised,
        },
        **({} if spent is None else {"budget": _as_given(spent.budget), "spending": spent.as_dict()}),
        "height": height,
        "width": width,
    }


def _as_given(budget: Budget) -> float | str:
    return budget.amount if budget.unit == "GMACs" else budget.given


def training_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `seed` of a training, and a digest of its `recipe`: equal where the seed alone differs.

    Args:
        metadata: of the checkpoint; the recipe is None where it holds no configuration.
    """
    recipe = _without(metadata["config"], NOT_OF_THE_RECIPE)
    text = json.dumps(recipe, sort_keys=True, default=str)
    return {"seed": metadata["seed"], "recipe": hashlib.sha256(text.encode()).hexdigest()[:12] if recipe else None}


def _without(value: Any, keys: Collection[str]) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without(inner, keys) for key, inner in value.items() if key not in keys}
    return [_without(inner, keys) for inner in value] if isinstance(value, (list, tuple)) else value


def _plain(value: Tensor, classes: ClassSet) -> Any:
    """Return a number, a list, or numbers by class, without the last digits, which the order of summation changes."""
    numbers = [None if number is None else round(number, DIGITS) for number in _numbers(value.flatten())]
    if value.ndim == 0:
        return numbers[0]
    return dict(zip(classes.names, numbers, strict=True)) if value.shape == (len(classes),) else numbers


def _numbers(values: Tensor) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: Tensor) -> float | None:
    return None if math.isnan(value) else float(value)
