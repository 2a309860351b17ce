"""What `src.predict` spends on a video: budgets, references on both sides, other scales."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from src.adaptation.online import Online
from src.adaptation.options import Learning
from src.checkpoints.load import load_checkpoint
from src.commands.predict import predict, predict_many
from src.errors import UserError
from src.inference.keyframes import KeyedMotion
from src.inference.options import LiveOptions, PredictOptions
from src.inference.runner import runner_of
from src.inference.two_sided import segment_two_sided
from src.metrics.cost import frame_costs
from src.video.reading.decode import Video
from tests.support.tiny_runner import AR, IMAGE, exact_film, save_checkpoint

GOP = 5  # of the tiny networks' training


@pytest.fixture(scope="module")
def ar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("ar") / "ar.ckpt", AR)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exact_film(tmp_path_factory.mktemp("video") / "video.mp4", 23, GOP)


def options(checkpoint: Path, source: Path, output: Path, **changed: Any) -> PredictOptions:
    given = {
        **{"max_gop": None, "motion": "auto", "on_damage": "stop", "save_labels": True, "label_format": "png"},
        **{"overlay": True, "streams": 2, "live": LiveOptions("none", 0, 10.0), "opacity": 0.5, "device": "cpu"},
        **{"backend": "torch", "precision": "fp32", "threads": 1},
    }
    return PredictOptions(str(checkpoint), str(source), str(output), **(given | changed))  # type: ignore[arg-type]


def labels_of(folder: Path) -> list[np.ndarray]:
    return [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((folder / "labels").iterdir())]


def test_references_on_both_sides_are_those_of_the_loop(ar: Path, video: Path, tmp_path: Path) -> None:
    summary = predict(options(ar, video, tmp_path / "out", references="both"))
    runner = runner_of(load_checkpoint(ar), torch.device("cpu"))
    expected = [r.labels for r in segment_two_sided(Video(video), runner, KeyedMotion(GOP))]
    for one, other in zip(labels_of(tmp_path / "out"), expected, strict=True):
        assert np.array_equal(one, other)
    assert summary["frames"] == 23
    timing = json.loads((tmp_path / "out" / "timing.json").read_text())
    assert timing["summary"]["references"] == "both"
    assert timing["frames"][1]["warp_only"]


def test_uniform_keyframes_within_a_budget_are_references_on_both_sides(ar: Path, tmp_path: Path) -> None:
    video = exact_film(tmp_path / "video.mp4", 40, 40)
    costs = frame_costs(load_checkpoint(ar).network, (48, 64))
    budget = 0.7 * costs["key"]
    wanted = options(ar, video, tmp_path / "out", references="both", policy="uniform", budget=budget)
    spent = predict(wanted)["spending"]
    timing = json.loads((tmp_path / "out" / "timing.json").read_text())["frames"]
    assert spent["worst"] <= budget + 5e-5
    places = [row["index"] for row in timing if row["keyframe"]]
    assert len(places) == spent["frames"]["key"] > 8, "more than one in a GOP"
    assert spent["mean"] * 40 == pytest.approx(
        len(places) * costs["key"] + (40 - len(places)) * 2 * costs["warp"], abs=2e-3
    )
    with pytest.raises(UserError, match=r"budget=900ms with references=both.* give a budget of GMACs"):
        predict(options(ar, video, tmp_path / "other", references="both", policy="uniform", budget="900ms"))


def test_several_videos_are_seen_from_both_sides_and_a_complete_one_is_skipped(
    ar: Path, video: Path, tmp_path: Path
) -> None:
    wanted = options(ar, video, tmp_path / "out", references="both")
    found = predict_many(wanted, {"a": str(video), "b": str(video)})
    assert {name: one["frames"] for name, one in found.items()} == {"a": 23, "b": 23}
    assert predict_many(wanted, {"a": str(video)}) == {}
    past = options(ar, video, tmp_path / "out")
    with pytest.raises(UserError, match="another settings"):
        predict_many(past, {"a": str(video)})


@pytest.mark.parametrize("policy", ["uniform", "adaptive"])
def test_a_budget_is_kept_and_drawn(ar: Path, video: Path, tmp_path: Path, policy: str) -> None:
    budget = 0.6 * frame_costs(load_checkpoint(ar).network, (48, 64))["key"]
    predict(options(ar, video, tmp_path / "out", policy=policy, budget=budget))
    predict(options(ar, video, tmp_path / "plain"))
    spent = json.loads((tmp_path / "out" / "timing.json").read_text())["summary"]["spending"]
    assert spent["worst"] <= budget + 5e-5, "rounded to four places"
    assert sum(spent["frames"].values()) == 23
    drawn, plain = (
        [frame.image for frame in Video(tmp_path / name / "overlay.mp4", motion="none")] for name in ("out", "plain")
    )
    foot = [np.abs(a[-12:].astype(int) - b[-12:]).mean() for a, b in zip(drawn, plain, strict=True)]
    assert min(foot) > 0, "bars"


def test_a_budget_in_milliseconds_is_spent_as_frames_take_them(ar: Path, video: Path, tmp_path: Path) -> None:
    predict(options(ar, video, tmp_path / "out", policy="uniform", budget="10000ms"))
    summary = json.loads((tmp_path / "out" / "timing.json").read_text())["summary"]
    spent = summary["spending"]
    assert (spent["unit"], spent["budget"], spent["frames"]) == ("ms", 10000, {"key": 23})
    assert spent["mean"] == pytest.approx(summary["mean_milliseconds"]["key"]["network"], rel=0.5)
    with pytest.raises(UserError, match=r"^budget=1e-06ms is out of range; give .*ms or more"):
        predict(options(ar, video, tmp_path / "other", policy="uniform", budget="0.000001ms"))
    assert not (tmp_path / "other").exists()


def test_a_latency_is_kept_for_one_video_at_its_rate(
    ar: Path, video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limited = {"policy": "uniform", "budget": "10000ms@1"}
    spending = predict(options(ar, video, tmp_path / "out", **limited))["spending"]
    assert (spending["budget"], spending["unit"], spending["fps"], spending["exceeded"]) == (10000, "ms", 1, 0)
    assert 0 < spending["worst"] < 10000
    assert spending["frames"] == {"key": 23}, "a second for each frame is enough for keyframes alone"
    assert "for which too much is spent" in caplog.text, "the video has more than one frame per second"
    both = {"a": str(video), "b": str(video)}
    with pytest.raises(UserError, match=r"^budget=10000ms@1 with 2 videos: .*; give one source"):
        predict_many(options(ar, video, tmp_path / "both", **limited), both)


def test_a_scale_changes_the_frames_between_keyframes_alone(ar: Path, video: Path, tmp_path: Path) -> None:
    found = []
    for scale in (None, 0.5, 0.25):
        predict(options(ar, video, tmp_path / str(scale), lr_scale=scale))
        found.append(labels_of(tmp_path / str(scale)))
    trained, same, smaller = found
    assert all(np.array_equal(a, b) for a, b in zip(trained, same, strict=True))
    differ = [not np.array_equal(a, b) for a, b in zip(trained, smaller, strict=True)]
    assert not any(differ[::GOP])
    assert any(differ)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"references": "both", "policy": "stream"}, "references=both with policy=stream.* policy=fixed and uniform"),
        ({"references": "none"}, "references=none .* past, both"),
        ({"policy": "uniform"}, "policy=uniform with budget=null"),
    ],
)
def test_what_does_not_go_together_is_rejected(
    changed: dict[str, Any], message: str, ar: Path, video: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        options(ar, video, tmp_path / "out", **changed)


@pytest.mark.parametrize("scale", [0, 1.5, "half", True])
def test_a_scale_out_of_range_is_rejected(scale: Any, ar: Path, video: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"lr_scale={scale} is out of range; give a number above 0, up to 1"):
        predict(options(ar, video, tmp_path / "out", lr_scale=scale))


def test_both_sides_need_a_method_that_warps_and_a_network_that_stays(ar: Path, video: Path, tmp_path: Path) -> None:
    image = save_checkpoint(tmp_path / "image.ckpt", IMAGE)
    with pytest.raises(UserError, match=r"references=both is for methods .* give AR-Seg or DFF"):
        predict(options(image, video, tmp_path / "out", references="both"))
    online = Online(2, 0, Learning(1e-4, 1, (32, 32), (1.0, 1.0), 0.5, 1.0, 1.0, 0.5, "fp32"))
    with pytest.raises(UserError, match="references=both needs frames that are yet to come"):
        predict(options(ar, video, tmp_path / "out", references="both"), online)
    assert not (tmp_path / "out").exists()
