"""What callbacks draw, and values that they refuse."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch

from src.data.batch import ClipBatch
from src.errors import UserError
from src.training.callbacks.ema import ExponentialMovingAverage
from src.training.callbacks.progress import LineProgress
from src.training.callbacks.samples import ValidationSamples, draw_clip
from src.training.precision import compile_parts
from src.training.summary import draw_curves
from tests.support.tiny_arseg import tiny_arseg

METADATA = {
    "classes": {"names": ["a", "b"], "palette": [[10, 20, 30], [40, 50, 60]]},
    "normalisation": {"mean": [0.5] * 3, "std": [0.25] * 3},
}


def test_a_clip_is_drawn_from_what_the_network_saw() -> None:
    labels = torch.tensor([[[0, 1], [255, 1]]])
    frames = torch.full((1, 1, 3, 2, 2), 1.0)
    still = ClipBatch(
        frames, labels, torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool), torch.zeros(1), ["x"]
    )
    drawn = draw_clip(still, torch.zeros_like(labels), METADATA, 10.0)
    assert drawn.shape == (2, 6, 3)
    assert (drawn[:, :2] == 191).all()
    assert drawn[0, 2:4].tolist() == [[10, 20, 30], [40, 50, 60]]
    assert drawn[1, 2].tolist() == [0, 0, 0]
    assert (drawn[:, 4:] == [10, 20, 30]).all()


def a_batch(height: int, width: int) -> ClipBatch:
    labels = torch.zeros(1, height, width, dtype=torch.int64)
    still = torch.zeros(1, 2, height, width), torch.ones(1, height, width, dtype=torch.bool)
    return ClipBatch(torch.zeros(1, 1, 3, height, width), labels, *still, torch.zeros(1), ["x"])


def test_clips_of_several_sizes_are_drawn_below_each_other(tmp_path: Path) -> None:
    samples = ValidationSamples(4, 24.0)
    trainer: Any = SimpleNamespace(
        num_val_batches=[4], is_global_zero=True, default_root_dir=tmp_path, current_epoch=0, loggers=[]
    )
    module: Any = SimpleNamespace(metadata=METADATA)
    for number, (height, width) in enumerate([(8, 12), (12, 8), (5, 7), (8, 12)]):
        batch = a_batch(height, width)
        samples.on_validation_batch_end(trainer, module, batch.labels, batch, number)
    samples.on_validation_end(trainer, module)
    drawn = cv2.imread(str(tmp_path / "pictures" / "epoch_0000.png"))
    assert drawn.shape == (8 + 12 + 5 + 8, 3 * 12, 3)
    assert (drawn[8:20, 24:] == 0).all()
    assert (drawn[8:20, 16:24] == [30, 20, 10]).all()


def test_what_only_shows_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples, broken = ValidationSamples(1, 24.0), cast(Any, None)
    samples.on_validation_batch_end(broken, broken, None, a_batch(4, 4), 0)
    (tmp_path / "pictures").touch()
    trainer: Any = SimpleNamespace(default_root_dir=tmp_path, loggers=[])
    samples._rows = [np.zeros((2, 2, 3), np.uint8)]
    samples.on_validation_end(trainer, broken)
    (tmp_path / "metrics.csv").write_text("epoch,step,train/loss\n0,1,2.0\n")
    draw_curves(tmp_path / "metrics.csv", tmp_path / "nowhere" / "curves.png")
    LineProgress().on_validation_end(broken, broken)
    assert caplog.text.count("shows nothing") == 4
    assert "ValidationSamples.on_validation_end shows nothing (FileExistsError" in caplog.text


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
