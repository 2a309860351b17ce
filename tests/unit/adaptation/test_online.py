"""A network that learns on the way: it gets better where it can, and is never worse than the checkpoint for long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from src.adaptation.online import COMPARED, FEWEST, AdaptingRunner, Online
from src.checkpoints.load import load_checkpoint
from src.errors import UserError
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner, runner_of
from src.models.video import SingleFrame
from src.video.reading.decode import Video
from tests.support.tiny_runner import AR, exact_film, save_checkpoint
from tests.unit.adaptation.test_learner import learning

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("ar") / "ar.ckpt", AR)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exact_film(tmp_path_factory.mktemp("online") / "video.mp4", 60, 60)


def adapting(checkpoint: Path, every: int = 2, seed: int = 0, **changes: Any) -> AdaptingRunner:
    return AdaptingRunner(load_checkpoint(checkpoint), CPU, Online(every, seed, learning(**changes)))


def labelled(runner: FrameRunner, video: Path) -> list[NDArray[np.uint8]]:
    keyed, state, found = KeyedMotion(5), runner.init_state(), []
    for frame in Video(video):
        labels, state = runner.step(frame.image, state, keyed.update(frame))
        found.append(labels)
    return found


def agreement(found: list[NDArray[np.uint8]], expected: list[NDArray[np.uint8]]) -> float:
    return float(np.mean([(a == b).mean() for a, b in zip(found, expected, strict=True)]))


def test_frames_agree_better_with_the_high_branch_than_without(checkpoint: Path, video: Path) -> None:
    plain = runner_of(load_checkpoint(checkpoint), CPU)
    teacher = FrameRunner(SingleFrame(plain.network.high), plain._normalisation, CPU)  # type: ignore[arg-type]
    high = labelled(teacher, video)
    runner = adapting(checkpoint)
    assert agreement(labelled(runner, video), high) > agreement(labelled(plain, video), high) + 0.05
    summary = runner.summary()
    assert summary["agreement"]["adapted"] > summary["agreement"]["start"]
    assert summary["agreement"]["start"] < summary["agreement"]["used"] < summary["agreement"]["adapted"]
    assert list(summary["by_distance"]) == ["1", "2", "3", "4"], "distances take turns"
    assert 0.3 < summary["share_adapted"] < 1, "the first frames have the checkpoint's weights"
    assert summary["comparisons"] == 48 // 3, "every third: two frames between keyframes of four do not take turns"


def test_learning_that_makes_it_worse_is_never_used_and_given_up(
    checkpoint: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = adapting(checkpoint)
    teach = runner._teacher.step

    def worst(image: NDArray[np.uint8], state: Any, *_: Any) -> tuple[NDArray[np.uint8], Any]:
        return (teach(image, None, None)[0] + 1) % 4, state

    monkeypatch.setattr(runner._adapted, "step", worst)
    found = labelled(runner, video)
    for expected, labels in zip(labelled(runner_of(load_checkpoint(checkpoint), CPU), video), found, strict=True):
        np.testing.assert_array_equal(labels, expected)
    assert runner.summary()["share_adapted"] == 0
    assert runner.summary()["restarts"] >= 1
    assert runner.summary()["comparisons"] > COMPARED > FEWEST


def test_learning_that_costs_a_small_class_is_not_used(
    checkpoint: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = adapting(checkpoint)
    teach = runner._teacher.step

    def expected(image: NDArray[np.uint8], state: Any, *_: Any) -> tuple[NDArray[np.uint8], Any]:
        labels = teach(image, None, None)[0] % 3
        labels[:2, :2] = 3
        return labels, state

    def learned(image: NDArray[np.uint8], state: Any, *_: Any) -> tuple[NDArray[np.uint8], Any]:
        labels = expected(image, state)[0]
        labels[labels == 3] = 0
        return labels, state

    def start(image: NDArray[np.uint8], state: Any, *_: Any) -> tuple[NDArray[np.uint8], Any]:
        labels = expected(image, state)[0]
        labels[4:10, 4:10] = (labels[4:10, 4:10] + 1) % 3
        return labels, state

    monkeypatch.setattr(FrameRunner, "step", lambda self, *given: start(given[0], given[1]))
    monkeypatch.setattr(runner._teacher, "step", expected)
    monkeypatch.setattr(runner._adapted, "step", learned)
    labelled(runner, video)
    summary = runner.summary()
    assert summary["agreement"]["adapted"] > summary["agreement"]["start"] == summary["agreement"]["used"]
    assert summary["miou"]["adapted"] < summary["miou"]["start"] == summary["miou"]["used"]
    assert summary["share_adapted"] == 0
    assert summary["restarts"] >= 1, "a class that is lost is much worse"


def test_a_loss_that_is_not_finite_begins_again(
    checkpoint: Path, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runner = adapting(checkpoint, lr=1e30)
    plain = labelled(runner_of(load_checkpoint(checkpoint), CPU), video)
    assert agreement(labelled(runner, video), plain) == 1
    assert "begins again" in caplog.text


def test_the_same_seed_gives_the_same_labels(checkpoint: Path, video: Path) -> None:
    first, again = (labelled(adapting(checkpoint, seed=5), video) for _ in range(2))
    assert agreement(first, again) == 1


def test_streams_share_what_is_learned(checkpoint: Path, video: Path) -> None:
    runner, keyed = adapting(checkpoint), KeyedMotion(5)
    states: list[Any] = [runner.init_state() for _ in range(2)]
    for frame in list(Video(video))[:12]:
        motion = keyed.update(frame)
        results = runner.step_batch([frame.image] * 2, states, [motion] * 2)
        states = [state for _, state in results]
    assert runner.summary()["comparisons"] == 18 // 3


def test_other_engines_are_rejected(checkpoint: Path) -> None:
    runner = adapting(checkpoint)
    assert str(runner.tune([], "auto", "auto", 1)) == "torch fp32"
    with pytest.raises(UserError, match=r"backend=openvino precision=auto.*adapt=false"):
        runner.tune([], "openvino", "auto", 1)


def test_warming_up_learns_nothing(checkpoint: Path) -> None:
    runner = adapting(checkpoint, every=1)
    runner.warm_up(48, 64)
    assert set(runner.times(48, 64)) == {"key", "nonkey", "warp"}
    assert runner.summary()["comparisons"] == 0


def test_values_out_of_range_are_rejected() -> None:
    with pytest.raises(UserError, match=r"online\.every=0"):
        Online(0, 0, learning())
