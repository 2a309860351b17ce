"""Intervals by paired draws of blocks of frames: against draws by hand, and against what they have to cover."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from src.data.clips.table import Clip
from src.errors import UserError
from src.evaluation.bootstrap import BlockCounts, Bootstrap, intervals, mean_iou
from src.evaluation.results import training_of
from src.metrics.confusion import iou
from tests.support.scores import default_metrics

CLASSES, DISTANCES = 3, 2


def frames(count, rates, seed=0):
    """Labels, and predictions of one system for each rate of wrong pixels."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        labels = rng.integers(0, CLASSES, (12, 16), np.uint8)
        labels[0, :3] = 255
        hard = rng.random() * 2
        wrong = [(rng.random(labels.shape) < rate * hard).astype(np.uint8) for rate in rates]
        yield labels, [np.where(labels == 255, 0, (labels + off) % CLASSES).astype(np.uint8) for off in wrong]


def counted(count, rates, block, seed=0):
    blocks = BlockCounts(len(rates), CLASSES, DISTANCES, block)
    for number, (labels, found) in enumerate(frames(count, rates, seed)):
        blocks.update("one", number, number % DISTANCES, labels, found)
    return blocks.gathered()


def test_all_blocks_together_have_the_miou_of_the_evaluation():
    metric = default_metrics(CLASSES, DISTANCES, videos=False)
    for number, (labels, (found,)) in enumerate(frames(9, [0.2])):
        preds, target = (torch.from_numpy(x).long()[None] for x in (found, labels))
        metric.update(preds=preds, target=target, distance=torch.tensor([number % DISTANCES]))
    expected = iou(metric.compute()["confusion"]).nanmean(1).nanmean()
    counts = counted(9, [0.2], block=4)
    assert counts.shape == (1, 3, DISTANCES, 2, CLASSES)
    assert mean_iou(counts.sum(1))[0] == pytest.approx(float(expected), abs=1e-15)


def test_draws_are_those_by_hand_and_the_same_for_both_systems():
    counts = counted(8, [0.1, 0.3], block=2)
    drawn, differences = np.random.default_rng(7), []
    for often in drawn.multinomial(4, np.full(4, 0.25), 40):
        whole = sum(counts[:, [n]] * times for n, times in enumerate(often))
        scores = []
        for system in whole[:, 0]:
            with np.errstate(invalid="ignore"):
                scores.append(np.nanmean(np.nanmean(system[:, 0] / system[:, 1], 1)))
        differences.append(scores[1] - scores[0])
    first, second = intervals(counts, Bootstrap(40, 2, 7))
    assert first["differences"] == []
    (found,) = second["differences"]
    assert found["interval"] == pytest.approx(np.percentile(differences, [2.5, 97.5]), abs=1e-6)
    assert found["miou"] == pytest.approx(mean_iou(counts.sum(1))[1] - mean_iou(counts.sum(1))[0])


def test_a_paired_interval_is_narrower_than_that_of_either_and_repeats_with_its_seed():
    counts = counted(60, [0.2, 0.21], block=1)
    one, other = intervals(counts, Bootstrap(500, 1, 0))
    low, high = other["differences"][0]["interval"]
    assert high - low < 0.5 * (one["interval"][1] - one["interval"][0])
    assert [one, other] == intervals(counts, Bootstrap(500, 1, 0))
    assert [one, other] != intervals(counts, Bootstrap(500, 1, 1))
    same = np.concatenate([counts[:1], counts[:1]])
    assert intervals(same, Bootstrap(50, 1, 0))[1]["differences"] == [{"miou": 0.0, "interval": [0.0, 0.0]}]


def test_nineteen_of_twenty_intervals_hold_the_truth():
    truth = float(np.diff(mean_iou(counted(4000, [0.2, 0.25], 1, seed=99).sum(1)))[0])
    held = 0
    for seed in range(100):
        counts = counted(40, [0.2, 0.25], 1, seed=seed)
        low, high = intervals(counts, Bootstrap(200, 1, 0))[1]["differences"][0]["interval"]
        held += low <= truth <= high
    assert 85 <= held <= 99


def test_whole_blocks_are_wider_where_neighbours_are_the_same():
    one = counted(12, [0.2, 0.3], block=1)
    single = np.repeat(one, 6, axis=1)  # each frame six times in a row
    block = single.reshape(2, 12, 6, DISTANCES, 2, CLASSES).sum(2)
    widths = []
    for counts in (single, block):
        low, high = intervals(counts, Bootstrap(800, 1, 0))[1]["differences"][0]["interval"]
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_frames_without_labels_have_no_interval():
    blocks = BlockCounts(1, CLASSES, DISTANCES, 4)
    blocks.update("one", 0, 0, np.full((2, 2), 255, np.uint8), [np.zeros((2, 2), np.uint8)])
    assert intervals(blocks.gathered(), Bootstrap(10, None, 0))[0]["interval"] == [None, None]


@pytest.mark.parametrize("wrong", [{"resamples": -1}, {"block": 0}, {"seed": None}, {"resamples": 2.5}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=f"bootstrap.{next(iter(wrong))}="):
        Bootstrap(**{"resamples": 10, "block": None, "seed": 0, **wrong})


@pytest.mark.parametrize("name", ["a_from00", "a_from11", "a_00012_d03", "a_v2_from00", "a"])
def test_all_cuts_of_a_video_have_one_source(name, tmp_path):
    assert Clip(name, tmp_path, tmp_path, 0, 1, 1, ()).source == "a"


def test_a_recipe_is_a_configuration_without_seed_and_machine():
    config = {"seed": 0, "data": {"seed": 0, "root": "/a", "crop": [1, 2]}, "trainer": {"devices": 1, "precision": 32}}
    other = {"seed": 1, "data": {"seed": 1, "root": "/b", "crop": [1, 2]}, "trainer": {"devices": 2, "precision": 32}}
    one, two = (training_of({"seed": c["seed"], "config": c}) for c in (config, other))
    assert one["recipe"] == two["recipe"]
    assert (one["seed"], two["seed"]) == (0, 1)
    other["data"]["crop"] = [1, 3]
    assert training_of({"seed": 1, "config": other})["recipe"] != one["recipe"]
    assert training_of({"seed": 1, "config": {}})["recipe"] is None
