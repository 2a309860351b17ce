"""How fast the parts of a single-frame network learn."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from src.errors import UserError
from src.losses.segmentation import CrossEntropy, SegmentationLoss
from src.models.timm_segmenter import TimmSegmenter
from src.training.modules.image import ImageModule
from src.training.schedules import cosine
from tests.support.scores import IOU


def image_module(decay: str = "all", **arguments: Any) -> ImageModule:
    return ImageModule(
        TimmSegmenter("tf_efficientnet_lite0", 2, width=8),
        SegmentationLoss(CrossEntropy()),
        1.0,
        optimizer=partial(torch.optim.AdamW, lr=1e-3),
        scheduler=partial(cosine, warmup=0.0),
        class_names=["a", "b"],
        distances=1,
        metrics=IOU,
        decay=decay,
        **arguments,
    )


@pytest.mark.parametrize("decay", ["all", "weights"])
def test_a_part_learns_at_its_own_rate(decay: str) -> None:
    module = image_module(decay, lr_factors={"encoder": 0.3, "head": 10.0})
    module._trainer = SimpleNamespace(estimated_stepping_batches=10, strategy=None)  # type: ignore[assignment]
    groups = module.configure_optimizers()["optimizer"].param_groups
    rates = {name: group["lr"] for group in groups for name in map(id, group["params"])}
    found = {name: rates[id(p)] for name, p in module.net.named_parameters()}
    assert len(rates) == len(found)
    for name, rate in found.items():
        expected = {"encoder": 3e-4, "head": 1e-2}.get(name.partition(".")[0], 1e-3)
        assert rate == pytest.approx(expected), name


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        (
            {"backbone": 0.1},
            r"^lr_factors=backbone is out of range; give a part of the network, of encoder, pool",
        ),
        ({"encoder": -1.0}, r"^lr_factors.encoder=-1.0 is out of range"),
    ],
)
def test_other_parts_and_negative_factors_are_rejected(factors: dict[str, float], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        image_module(lr_factors=factors)
