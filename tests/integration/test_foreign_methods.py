"""Video methods of a plugin are evaluated, run, timed and counted like those of this project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.benchmarking.latency import measure
from src.benchmarking.video_latency import TimedVideo, VideoTimer
from src.checkpoints.load import load_checkpoint
from src.commands.predict import predict
from src.data.clips.table import Clip
from src.evaluation.results import result_of
from src.evaluation.scoring import score_clips
from src.evaluation.systems import systems_of
from src.inference.options import LiveOptions, PredictOptions
from src.metrics.cost import inference_cost
from src.models.registry import build
from src.models.video import FrameInput
from src.video.types import CodecSettings
from src.video.writing.encode import encode
from tests.support.foreign_methods import FOLLOWER, SMOOTHER, Follower, Smoother
from tests.support.scores import default_metrics
from tests.support.tiny_runner import AR, CLASSES, save_checkpoint
from tests.support.videos import pan

CPU = torch.device("cpu")
GOP, SIZE = 4, (48, 64)
CONV = 3 * 4 * 9 * SIZE[0] * SIZE[1]  # multiply-adds of either method's only layer
METHODS = [SMOOTHER, FOLLOWER]

REST = ("png", True, 1, LiveOptions("none", 0, 10.0))  # of `PredictOptions`


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Two GOPs, labelled at the end of each."""
    folder = tmp_path_factory.mktemp("clip")
    rng = np.random.default_rng(0)
    np.savez(folder / "labels.npz", **{str(n): rng.integers(0, 4, SIZE, np.uint8) for n in range(8)})  # type: ignore[arg-type]
    video = folder / "video.mp4"
    encode(pan(8, *SIZE, (2, 1)), video, CodecSettings("h264", GOP, 25, crf=20, preset="veryfast"))
    return Clip("tiny", video, folder / "labels.npz", 0, 8, GOP, tuple(range(8)))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["name"])
def test_evaluation_scores_it_beside_other_methods(method: dict[str, Any], clip: Clip, tmp_path: Path) -> None:
    files = {name: save_checkpoint(tmp_path / f"{name}.ckpt", net) for name, net in (("own", method), ("ar", AR))}
    systems = systems_of({name: load_checkpoint(path) for name, path in files.items()})
    found = score_clips(systems, [clip], default_metrics(len(CLASSES), GOP), "exact", CPU)
    rows = [result_of(s, computed, CLASSES, SIZE, GOP) for s, computed in zip(systems, found, strict=True)]
    by_method = {row["method"]: row for row in rows}
    assert {method["name"], "AR", "warp only"} <= by_method.keys()
    own = by_method[method["name"]]
    assert own["checkpoint"] == "own"
    assert len(own["miou_by_distance"]) == GOP
    assert own["gmacs"]["key"] == pytest.approx(CONV / 1e9)


@pytest.mark.parametrize(("method", "motion"), [(SMOOTHER, "none"), (FOLLOWER, "exact")], ids=["smoother", "follower"])
def test_prediction_hands_it_state_and_motion(method: dict[str, Any], motion: str, clip: Clip, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "own.ckpt", method)
    output = tmp_path / "output"
    summary = predict(
        PredictOptions(
            str(checkpoint),
            str(clip.video),
            str(output),
            GOP,
            "auto",
            "stop",
            True,
            0.5,
            "cpu",
            "torch",
            "fp32",
            1,
            *REST,
        )
    )
    assert (summary["frames"], summary["motion"]) == (8, motion)
    assert len(list((output / "labels").iterdir())) == 8
    frames = json.loads((output / "timing.json").read_text())["frames"]
    if motion == "exact":
        assert [f["index"] for f in frames if f["keyframe"]] == [0, GOP]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["name"])
def test_the_benchmark_times_its_cycle(method: dict[str, Any], clip: Clip) -> None:
    net = build(**method).eval()
    [rounds] = measure([net], SIZE, GOP, CPU, warmup=1, rounds=2, channels_last=False)
    assert [[kind for kind, _ in one] for one in rounds] == [list(net.cycle(GOP).kinds)] * 2
    runs: list[object] = []
    net.classify.register_forward_hook(lambda *_: runs.append(1))
    [times] = VideoTimer([net], net, TimedVideo(clip.video, GOP), CPU, 1).measure().rounds
    assert {kind for kind, _ in times["total"][0]} == {"key", "nonkey"}
    assert (len(runs) < 8) == net.uses_motion, "motion takes the place of the network between keyframes"


def test_costs_are_counted_over_its_cycle() -> None:
    memory, follower = (inference_cost(net, SIZE, GOP) for net in (Smoother(), Follower()))
    assert memory.gmacs_key == memory.gmacs_nonkey == memory.gmacs_amortised == pytest.approx(CONV / 1e9)
    assert memory.gop is None
    assert follower.gmacs_nonkey == 0
    assert follower.gmacs_amortised == pytest.approx(CONV / GOP / 1e9)
    assert follower.gop == GOP
    assert follower.params_inference == 3 * 4 * 9 + 4


@torch.inference_mode()
def test_a_state_serves_several_streams() -> None:
    """The contract on which evaluation and prediction rely: a state is a value."""
    net = Smoother().eval()
    images = torch.randn(3, 2, 3, *SIZE)
    apart = []
    for stream in range(2):
        state = net.init_state()
        for image in images[:, stream, None]:
            logits, state = net.step(FrameInput(image), state)
        apart.append(logits)
    state = net.init_state()
    for image in images:
        together, state = net.step(FrameInput(image), state)
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-5, atol=1e-5)
