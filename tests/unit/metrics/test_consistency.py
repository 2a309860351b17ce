"""VC8 and VC16 of VSPW, counted by hand and against both definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from src.errors import UserError
from src.metrics.consistency import VideoConsistency

VOID = 255
# One row of four pixels in three frames
LABELS = [[0, 0, 1, VOID], [0, 1, 1, VOID], [0, 1, 1, 0]]
FOUND = [[0, 0, 0, 2], [0, 1, 0, 3], [1, 1, 0, 2]]


def show(metric: VideoConsistency, name: str, found: np.ndarray, labels: np.ndarray, first: int = 0) -> None:
    for index, (preds, target) in enumerate(zip(found, labels, strict=True), start=first):
        metric.update(torch.as_tensor(preds)[None], torch.as_tensor(target)[None], video=name, index=index)


def maps(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, np.int64)[:, None]


def draw(frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels that seldom change, some of them void, and predictions that are often right."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, 3, (-(-frames // 5), 4, 6)), 5, 0)[:frames]
    labels[rng.random(labels.shape) < 0.02] = VOID
    found = np.where(rng.random(labels.shape) < 0.95, labels, 1)
    found[found == VOID] = 2
    return found, labels


def script(videos: list[tuple[np.ndarray, np.ndarray]], n: int) -> float:
    shares = []
    for found, labels in videos:
        for start in range(len(labels) - n):
            known, own = labels[start : start + n], found[start : start + n]
            constant = (known == known[0]).all(0)
            if constant.any():
                shares.append((constant & (own == own[0]).all(0)).sum() / constant.sum())
    return float(np.mean(shares))


def definition(videos: list[tuple[np.ndarray, np.ndarray]], n: int) -> float:
    means = []
    for found, labels in videos:
        shares = []
        for start in range(len(labels) - n + 1):
            known, own = labels[start : start + n], found[start : start + n]
            constant = (known == known[0]).all(0) & (known[0] != VOID)
            if constant.any():
                shares.append((constant & (own == known).all(0)).sum() / constant.sum())
        if shares:
            means.append(np.mean(shares))
    return float(np.mean(means))


def test_three_frames_by_hand() -> None:
    metric = VideoConsistency([2])
    show(metric, "a", maps(FOUND), maps(LABELS))
    scores = metric.compute()
    # frames 0 and 1: pixels 0, 2 and the void one are constant, 0 and 2 so predicted; the last run is not seen
    assert scores["vc2"] == pytest.approx(2 / 3)
    # frames 0 and 1: of the pixels 0 and 2 the first is right; frames 1 and 2: of 0, 1 and 2 the second
    assert scores["vc2_corrected"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    show(metric, "b", maps(LABELS[:2]), maps(LABELS[:2]))
    assert metric.compute()["vc2"] == pytest.approx(2 / 3), "a video of n frames"
    assert metric.compute()["vc2_corrected"] == pytest.approx(((1 / 2 + 1 / 3) / 2 + 1) / 2)


def test_both_forms_as_they_are_defined() -> None:
    videos = [draw(frames, seed) for seed, frames in enumerate((30, 8, 17, 5))]
    metric = VideoConsistency([8, 16])
    for name, video in enumerate(videos):
        show(metric, str(name), *video)
    for n in (8, 16):
        assert metric.compute()[f"vc{n}"] == pytest.approx(script(videos, n), abs=1e-12)
        assert metric.compute()[f"vc{n}_corrected"] == pytest.approx(definition(videos, n), abs=1e-12)
    metric.reset()
    show(metric, "again", *videos[0])
    assert metric.compute()["vc8"] == pytest.approx(script(videos[:1], 8), abs=1e-12)


def test_perfect_predictions_score_one_and_wrong_constant_ones_only_as_published() -> None:
    _, labels = draw(20, 3)
    metric = VideoConsistency([8])
    show(metric, "right", np.where(labels == VOID, 0, labels), labels)
    assert metric.compute()["vc8_corrected"] == 1
    wrong = VideoConsistency([8])
    show(wrong, "wrong", np.full_like(labels, 9), labels)
    assert wrong.compute()["vc8"] == 1
    assert wrong.compute()["vc8_corrected"] == 0


def test_ignored_pixels_do_not_count() -> None:
    found, labels = draw(20, 4)
    one, other = VideoConsistency([8]), VideoConsistency([8])
    show(one, "a", found, labels)
    show(other, "a", np.where(labels == VOID, np.arange(20)[:, None, None], found), labels)
    assert one.compute()["vc8_corrected"] == other.compute()["vc8_corrected"]


def test_a_gap_begins_the_runs_anew() -> None:
    _, labels = draw(9, 5)
    labels[labels == VOID] = 0
    metric = VideoConsistency([8])
    show(metric, "a", labels[:7], labels[:7])
    show(metric, "a", labels[:7], labels[:7], first=8)
    assert metric.compute()["vc8_corrected"].isnan()
    show(metric, "a", labels[:1], labels[:1], first=15)
    assert metric.compute()["vc8_corrected"] == 1


def test_length_is_checked() -> None:
    with pytest.raises(UserError, match=r"metric\.consistency\.lengths=1"):
        VideoConsistency([1])
