"""Labels that count against the image on screen when they are ready."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.checkpoints.load import load_checkpoint
from src.data.clips.table import Clip
from src.errors import UserError
from src.evaluation.live import score_live
from src.evaluation.scoring import score_clips
from src.evaluation.systems import Rows, System, systems_of
from src.inference.runner import FrameRunner
from src.inference.spending import Budget
from src.metrics.collection import CONFUSION
from src.metrics.confusion import iou
from src.video.reading.decode import Video
from tests.support.scores import default_metrics
from tests.support.tiny_runner import AR, CLASSES, IMAGE, exact_film, save_checkpoint

CPU, FPS, LENGTH = torch.device("cpu"), 10.0, 24


def systems(folder: Path, network: dict[str, Any], rows: Rows | None = None) -> list[System]:
    return systems_of({"net": load_checkpoint(save_checkpoint(folder / "net.ckpt", network))}, rows or Rows())


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """Labels are those that a single-frame network gives each frame."""
    video = exact_film(tmp_path / "video.mp4", LENGTH, gop=4)
    (single,) = systems(tmp_path, IMAGE)
    runner = FrameRunner(single.network, single.normalisation, CPU)
    labels = {str(f.index): runner.step(f.image, runner.init_state(), None)[0] for f in Video(video)}
    np.savez(tmp_path / "labels.npz", **labels)
    return Clip("tiny", video, tmp_path / "labels.npz", 0, LENGTH, 4, tuple(range(LENGTH)))


def clock(seconds: float) -> Callable[[], float]:
    """A clock that is looked at once before a step and twice after it: each look takes half the time of a step."""
    ticks = count()
    return lambda: next(ticks) * seconds


def live_score(clip: Clip, tmp_path: Path, seconds: float) -> dict[str, Any]:
    (found,) = score_live(systems(tmp_path, IMAGE), [clip], len(CLASSES), "exact", CPU, FPS, 3, clock=clock(seconds))
    return found


def expected_miou(clip: Clip, shown: list[int]) -> float:
    """Of labels of other frames, by distance; `shown[n]` is whose labels are on screen with frame n."""
    confusion = np.zeros((4, len(CLASSES), len(CLASSES)))
    for n in range(3, LENGTH):
        own, other = (clip.read_labels(k, (48, 64)) for k in (n, shown[n]))
        np.add.at(confusion[n % 4], (own, other), 1)
    return float(iou(torch.from_numpy(confusion)).nanmean(1).nanmean())


def test_labels_in_time_count_against_their_own_frame(clip, tmp_path):
    found = live_score(clip, tmp_path, 0.04)
    assert found["miou"] == 1.0
    assert (found["late"], found["skipped"]) == (0, 0)
    assert found["ms_p50"] == pytest.approx(40)


def test_a_network_slower_than_the_source_skips_frames_and_is_scored_on_later_ones(clip, tmp_path):
    found = live_score(clip, tmp_path, 0.13)  # free after 0.26 s, which is after the next two frames came
    shown: list[int] = []
    free, ready = 0.0, dict[int, float]()
    for n in range(LENGTH):
        leaves = (n + 1) / FPS
        if free < leaves:
            start = max(free, n / FPS)
            ready[n], free = start + 0.13, start + 0.26
        else:
            free += 0.13  # of looking at its motion
        shown.append(max((k for k, at in ready.items() if at <= leaves), default=0))
    assert any(k < n - 1 for n, k in enumerate(shown))
    assert found["miou"] == pytest.approx(expected_miou(clip, shown))
    assert found["miou"] < 1
    assert found["late"] == 1
    assert found["skipped"] == pytest.approx(1 - len(ready) / LENGTH, abs=1e-3)


def test_a_fast_method_with_a_memory_scores_what_it_scores_on_all_frames(clip, tmp_path):
    ar = systems(tmp_path, AR, Rows((Budget(0.001),), ("uniform",)))
    live = score_live(ar, [clip], len(CLASSES), "exact", CPU, FPS, 3, clock=clock(1e-4))
    scored = score_clips(ar, [clip], default_metrics(len(CLASSES), clip.gop), "exact", CPU, first=3)
    for one, other in zip(live, scored, strict=True):
        assert one["miou"] == pytest.approx(float(iou(other[CONFUSION]).nanmean(1).nanmean()))
    assert [one["skipped"] for one in live] == [0] * len(ar)


def test_labels_beyond_a_latency_are_counted(clip, tmp_path):
    rows = Rows((Budget(110.0, "ms", FPS),), ("uniform",), live=FPS)
    found = score_live(systems(tmp_path, AR, rows), [clip], len(CLASSES), "exact", CPU, FPS, 3, clock=clock(0.06))
    free, latencies = 0.0, []
    for n in range(LENGTH):
        if free < (n + 1) / FPS:
            start = max(free, n / FPS)
            latencies.append(start + 0.06 - n / FPS)
            free = start + 0.12
        else:
            free += 0.06
    in_time = sum(latency <= 0.11 for latency in latencies)
    assert 0 < in_time < len(latencies) < LENGTH
    *others, budgeted = found
    assert budgeted["missed"] == pytest.approx(1 - in_time / LENGTH, abs=1e-4)
    assert all("missed" not in other for other in others)


def test_a_latency_is_for_the_rate_that_is_played():
    with pytest.raises(UserError, match=r"give budget=66ms@15, or live=30$"):
        Rows((Budget(66.0, "ms", 30.0),), live=15)
