"""What a training can be asked for, in one run: averaging, compilation, accumulation, balance; and what it shows."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.checkpoints.load import load_checkpoint
from src.training.summary import read_curves
from tests.support import configs, trainings


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, street_cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("options")
    options = ["callbacks=ema", "callbacks.ema.decay=0.5", "compile=eager", "trainer.accumulate_grad_batches=2"]
    options += ["data.distance=balanced", "logger=tensorboard", "callbacks.pictures.count=2"]
    trainings.run(folder, [*configs.ARSEG, *options, f"paths.cache={street_cache}"])
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
