"""What callbacks draw, and values that they refuse."""

from __future__ import annotations

import pytest
import torch

from src.data.batch import ClipBatch
from src.errors import UserError
from src.training.callbacks.ema import ExponentialMovingAverage
from src.training.callbacks.samples import ValidationSamples, draw_clip
from src.training.precision import compile_parts
from tests.support.tiny_arseg import tiny_arseg


def test_a_clip_is_drawn_from_what_the_network_saw() -> None:
    metadata = {
        "classes": {"names": ["a", "b"], "palette": [[10, 20, 30], [40, 50, 60]]},
        "normalisation": {"mean": [0.5] * 3, "std": [0.25] * 3},
    }
    labels = torch.tensor([[[0, 1], [255, 1]]])
    frames = torch.full((1, 1, 3, 2, 2), 1.0)
    still = ClipBatch(
        frames, labels, torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool), torch.zeros(1), ["x"]
    )
    drawn = draw_clip(still, torch.zeros_like(labels), metadata, 10.0)
    assert drawn.shape == (2, 6, 3)
    assert (drawn[:, :2] == 191).all()
    assert drawn[0, 2:4].tolist() == [[10, 20, 30], [40, 50, 60]]
    assert drawn[1, 2].tolist() == [0, 0, 0]
    assert (drawn[:, 4:] == [10, 20, 30]).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExponentialMovingAverage(1.0),
        lambda: ValidationSamples(-1, 24.0),
        lambda: compile_parts(tiny_arseg(), "inductr"),
    ],
)
def test_values_out_of_range(make) -> None:
    with pytest.raises(UserError):
        make()
