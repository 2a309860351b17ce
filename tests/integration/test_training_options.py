"""What a training can be asked for, in one run: averaging, compilation, accumulation, balance; and what it shows."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.checkpoints.load import load_checkpoint
from src.data.batch import ClipBatch
from src.errors import UserError
from src.training.callbacks.ema import ExponentialMovingAverage
from src.training.callbacks.samples import ValidationSamples, draw_clip
from src.training.precision import compile_parts
from src.training.summary import read_curves
from tests.support import trainings
from tests.support.tiny_arseg import tiny_arseg


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, street_cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("options")
    options = ["callbacks=ema", "callbacks.ema.decay=0.5", "compile=eager", "trainer.accumulate_grad_batches=2"]
    options += ["data.distance=balanced", "logger=tensorboard", "callbacks.pictures.count=2"]
    trainings.run(folder, [*trainings.ARSEG, *options, f"paths.cache={street_cache}"])
    return folder


def test_the_average_is_saved_and_frozen_weights_stay(run: Path) -> None:
    low, high = trainings.last(run, "low"), trainings.last(run, "high")
    average, current = low["state_dict"], low["current_model_state"]
    assert any(not torch.equal(average[key], current[key]) for key in average if key.startswith("net.low"))
    for key, value in high["state_dict"].items():
        if key.startswith("net."):
            assert torch.equal(average[key.replace("net.", "net.high.")], value), key
    assert not [key for key in average if "_orig_mod" in key]
    loaded = load_checkpoint(run / "low" / "checkpoints" / "last.ckpt")
    assert torch.equal(loaded.network.low.head.weight, average["net.low.head.weight"])


def test_a_step_follows_every_second_batch(run: Path) -> None:
    assert json.loads((run / "low" / "done.json").read_text())["steps"] == 6


def test_a_run_shows_curves_and_pictures(run: Path) -> None:
    steps, values = read_curves(run / "low" / "metrics.csv")["train/loss"]
    assert steps == list(range(6))
    assert len(values) == 6
    assert cv2.imread(str(run / "low" / "curves.png")).shape[1] > 1000
    names = sorted(path.name for path in (run / "low" / "pictures").iterdir())
    assert names == ["epoch_0000.png", "epoch_0001.png"]
    picture = cv2.imread(str(run / "low" / "pictures" / names[0]))
    assert picture.shape == (2 * 48, 4 * 64, 3), "picture, label, prediction and motion of two clips"
    assert cv2.imread(str(run / "high" / "pictures" / names[0])).shape == (2 * 48, 3 * 64, 3), "no motion there"
    events = EventAccumulator(str(run / "low"))
    events.Reload()
    assert len(events.Images("val/pictures")) == 2


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
