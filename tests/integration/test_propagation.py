"""DFF and Accel through training, evaluation, prediction and benchmark, none of which names them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.checkpoints.load import load_checkpoint
from src.commands.benchmark import benchmark
from src.commands.evaluate import evaluate
from src.commands.predict import predict
from src.inference.api import load_segmenter
from src.inference.options import LiveOptions, PredictOptions
from src.models.dff.net import DFF, Accel
from tests.support.configs import TINY, Compose
from tests.support.trainings import run
from tests.support.videos import ONE_REFERENCE, pan, write

EPOCHS = ["model.image_epochs=1", "model.pair_epochs=1"]
NETWORKS = {"dff": ["network=tiny"], "accel": ["network=tiny", "network@model.update=tiny"]}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, street_cache: Path) -> dict[str, Path]:
    """Accel from nothing, and DFF from the network that Accel's reference branch started from."""
    runs = {name: tmp_path_factory.mktemp(name) for name in ("accel", "dff")}
    image = runs["accel"] / "image" / "checkpoints" / "last.ckpt"
    for name, folder in runs.items():
        given = [f"model.image_checkpoint={image}"] if name == "dff" else []
        run(folder, [f"model={name}", *NETWORKS[name], *EPOCHS, f"paths.cache={street_cache}", *given])
    assert not (runs["dff"] / "image").exists()
    return {name: folder / "pairs" / "checkpoints" / "last.ckpt" for name, folder in runs.items()}


def test_training_gives_checkpoints_of_the_whole_method(checkpoints: dict[str, Path]) -> None:
    nets = {name: load_checkpoint(path).network for name, path in checkpoints.items()}
    assert type(nets["dff"]) is DFF
    assert type(nets["accel"]) is Accel
    start = torch.eye(nets["accel"].num_classes).repeat(1, 2)[..., None, None] / 2
    assert not torch.equal(nets["accel"].fusion.weight, start), "the fusion learns"


def test_evaluation_scores_both_beside_their_networks(
    checkpoints: dict[str, Path], composed: Compose, tmp_path: Path, street_cache: Path
) -> None:
    both = ",".join(map(str, checkpoints.values()))
    rows = evaluate(composed("eval", tmp_path, f"checkpoint=[{both}]", f"paths.cache={street_cache}"), tmp_path)
    assert sorted(row["method"] for row in rows) == ["Accel", "DFF", "DFF", *["constant"] * 3]
    accel = next(row for row in rows if row["method"] == "Accel")
    moved = next(row for row in rows if row["method"] == "DFF" and row["checkpoint"] == accel["checkpoint"])
    assert moved["gmacs"]["nonkey"] < accel["gmacs"]["nonkey"]
    assert accel["miou_by_distance"][0] == moved["miou_by_distance"][0]


@pytest.mark.parametrize("name", NETWORKS)
def test_prediction_labels_the_frames_of_a_stream(name: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    video, output = tmp_path / "video.mp4", tmp_path / "output"
    write(video, pan(6, 48, 64, (2, 1)), "libx264", ONE_REFERENCE)
    rest = ("auto", "stop", True, 0.5, "cpu", "torch", "fp32", 1, "png", True, 1, LiveOptions("none", 0, 10.0))
    summary = predict(PredictOptions(str(checkpoints[name]), str(video), str(output), 3, *rest))
    assert (summary["frames"], summary["motion"]) == (6, "exact")
    frames = json.loads((output / "timing.json").read_text())["frames"]
    assert [frame["index"] for frame in frames if frame["keyframe"]] == [0, 3]
    stream = list(load_segmenter(checkpoints[name], device="cpu").run(video, max_gop=3))
    for path, frame in zip(sorted((output / "labels").iterdir()), stream, strict=True):
        assert np.array_equal(np.array(Image.open(path)), frame.labels)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_benchmark_counts_and_times_it(name: str, composed: Compose, tmp_path: Path) -> None:
    small = ["input.height=64", "input.width=96", "rounds=1", "warmup=1"]
    result = benchmark(composed("benchmark", tmp_path, TINY, f"model={name}", *NETWORKS[name], *small))
    assert result["model"] == f"{name}_tiny"
    assert (result["gmacs_nonkey"] < 0.25 * result["gmacs_key"]) == (name == "dff")
    assert result["gop"] == 12
    assert "nonkey" in json.dumps(result["latency"])
