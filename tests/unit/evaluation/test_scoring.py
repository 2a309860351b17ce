"""Systems of one or several checkpoints, scored frame by frame and on still images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from src.checkpoints.load import load_checkpoint
from src.data.clips.table import Clip
from src.data.datasets.base import LabelledImage
from src.data.labels import ClassSet
from src.errors import UserError
from src.evaluation.bootstrap import BlockCounts, mean_iou
from src.evaluation.live import score_live
from src.evaluation.results import result_of
from src.evaluation.scoring import score_clips, score_stills
from src.evaluation.systems import Rows, systems_of
from src.inference.engine.options import Engine
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner
from src.inference.spending import Budget, Spending
from src.inference.two_sided import segment_two_sided
from src.metrics.collection import CONFUSION
from src.metrics.confusion import iou
from src.metrics.cost import frame_costs
from src.reports.evaluation import method_name
from src.video.motion.field import MotionChain
from src.video.reading.decode import Video
from tests.support.scores import default_metrics
from tests.support.tiny_runner import AR, CLASSES, IMAGE, STATE, exact_film, save_checkpoint

CPU = torch.device("cpu")


class Drawn(LabelledImage):
    def __init__(self, name, image, labels):
        self.name, self.image, self.labels = name, image, labels

    def read(self):
        return self.image, self.labels

    def fingerprint(self):
        return self.name


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """8 frames with keyframes at 0 and 4, labelled at 2, 5 and 7; scored are those from 3 on."""
    folder = tmp_path_factory.mktemp("clip")
    rng = np.random.default_rng(0)
    labels = {str(n): rng.integers(0, len(CLASSES), (48, 64), np.uint8) for n in (2, 5, 7)}
    np.savez(folder / "labels.npz", **labels)
    video = exact_film(folder / "video.mp4", 8, gop=4)
    return Clip("tiny", video, folder / "labels.npz", 0, 8, 4, (2, 5, 7))


def checkpoints(tmp_path, **networks):
    return {name: load_checkpoint(save_checkpoint(tmp_path / f"{name}.ckpt", net)) for name, net in networks.items()}


def test_methods_without_memory_come_first_and_each_names_its_checkpoint(tmp_path):
    systems = systems_of(checkpoints(tmp_path, ar=AR, averager=STATE, image=IMAGE))
    found = [(s.network.method, s.network.scale, s.checkpoint) for s in systems]
    assert found == [
        ("constant", 1.0, "ar"),
        ("constant", 0.5, "image"),
        ("warp only", 0.0, "ar"),
        ("AR", 0.5, "ar"),
        ("averager", 1.0, "averager"),
    ]


@torch.inference_mode()
def test_scores_are_those_of_each_step_by_hand(clip, tmp_path):
    systems = systems_of(checkpoints(tmp_path, ar=AR))
    found = score_clips(systems, [clip], default_metrics(len(CLASSES), clip.gop), "exact", CPU)
    for system, metric in zip(systems, found, strict=True):
        expected = np.zeros((4, len(CLASSES), len(CLASSES)), np.int64)
        runner, chain = FrameRunner(system.network, system.normalisation, CPU), MotionChain()
        state = runner.init_state()
        for frame in Video(clip.video, motion="exact"):
            if frame.index % 4 == 0:
                chain.reset()
            to_key = chain.update(frame)
            labels, state = runner.step(frame.image, state, None if frame.index % 4 == 0 else to_key)
            if frame.index in (5, 7):
                np.add.at(expected[frame.index % 4], (clip.read_labels(frame.index, labels.shape), labels), 1)
        assert np.array_equal(metric[CONFUSION].numpy(), expected), system.network.method


def test_a_budget_is_a_system_more_and_costs_what_its_frames_cost(clip, tmp_path):
    loaded = checkpoints(tmp_path, ar=AR, image=IMAGE)
    costs = frame_costs(loaded["ar"].network, (48, 64))
    budgets = Budget(0.6 * costs["key"]), Budget(costs["key"])
    systems = systems_of(loaded, Rows(budgets))
    assert [s.budget for s in systems if s.network.method == "AR"] == [None, *budgets]
    spendings: dict[int, list[Spending]] = {}
    metrics = default_metrics(len(CLASSES), clip.gop)
    found = score_clips(systems, [clip] * 2, metrics, "exact", CPU, spendings=spendings)
    assert [systems[n].budget for n in spendings] == list(budgets)
    for number, spent in spendings.items():
        row = result_of(systems[number], found[number], CLASSES, (48, 64), clip.gop, spent)
        frames = row["spending"]["frames"]
        assert sum(frames.values()) == 16, "of both clips"
        assert row["gmacs"]["amortised"] <= systems[number].budget.amount
        assert row["gmacs"]["amortised"] == pytest.approx(sum(n * costs[kind] for kind, n in frames.items()) / 16)
    every = result_of(systems[-1], found[-1], CLASSES, (48, 64), clip.gop, spendings[len(systems) - 1])
    assert every["spending"]["frames"]["key"] > 4, "more than the coding has"


def test_each_policy_is_a_system_of_each_budget(clip, tmp_path):
    loaded = checkpoints(tmp_path, ar=AR)
    systems = systems_of(loaded, Rows((Budget(1.0), Budget(2.0)), ("uniform", "adaptive")))
    found = [(s.method, s.budget.amount) for s in systems if s.budget]
    assert found == [("AR uniform", 1.0), ("AR adaptive", 1.0), ("AR uniform", 2.0), ("AR adaptive", 2.0)]


def test_both_sides_are_a_system_more_whose_frames_cost_two_warps(clip, tmp_path):
    loaded = checkpoints(tmp_path, ar=AR, image=IMAGE)
    systems = systems_of(loaded, Rows(two_sided=True))
    assert [s.method for s in systems if s.two_sided] == ["warp only from both sides"]
    found = score_clips(systems, [clip], default_metrics(len(CLASSES), clip.gop), "exact", CPU)
    rows = {s.method: result_of(s, one, CLASSES, (48, 64), clip.gop) for s, one in zip(systems, found, strict=True)}
    both, past = rows["warp only from both sides"]["gmacs"], rows["warp only"]["gmacs"]
    assert both["nonkey"] == 2 * past["nonkey"]
    assert both["amortised"] == pytest.approx((both["key"] + 3 * both["nonkey"]) / 4)
    (own,) = [s for s in systems if s.two_sided]
    runner = FrameRunner(own.network, own.normalisation, CPU)
    counts = np.zeros((4, len(CLASSES), len(CLASSES)), np.int64)
    for result in segment_two_sided(Video(clip.video, motion="exact"), runner, KeyedMotion(4)):
        n = result.frame.index
        if n in (5, 7):
            np.add.at(counts[n % 4], (clip.read_labels(n, (48, 64)), result.labels), 1)
    assert np.array_equal(found[systems.index(own)][CONFUSION].numpy(), counts)
    assert score_live([own], [clip], len(CLASSES), "exact", CPU, 10.0) == [None]


def test_uniform_budgets_are_systems_from_both_sides_too(clip, tmp_path):
    loaded = checkpoints(tmp_path, ar=AR)
    costs = frame_costs(loaded["ar"].network, (48, 64))
    budget = Budget(0.8 * costs["key"])
    systems = systems_of(loaded, Rows((budget,), ("uniform", "adaptive"), two_sided=True))
    assert [(s.method, s.budget) for s in systems if s.two_sided] == [
        ("warp only from both sides", None),
        ("warp only uniform from both sides", budget),
    ]
    spendings: dict[int, list[Spending]] = {}
    metrics = default_metrics(len(CLASSES), clip.gop)
    found = score_clips(systems, [clip], metrics, "exact", CPU, spendings=spendings)
    number = next(n for n, s in enumerate(systems) if s.two_sided and s.budget)
    row = result_of(systems[number], found[number], CLASSES, (48, 64), clip.gop, spendings[number])
    frames = row["spending"]["frames"]
    assert frames["key"] > 2, "more than the coding has"
    expected = (frames["key"] * costs["key"] + frames["warp"] * 2 * costs["warp"]) / 8
    assert row["gmacs"]["amortised"] == pytest.approx(expected)


def test_both_sides_need_a_method_that_can_warp(tmp_path):
    with pytest.raises(UserError, match=r"^references=both is for methods .* give AR-Seg or DFF"):
        systems_of(checkpoints(tmp_path, image=IMAGE), Rows(two_sided=True))


def test_a_budget_needs_a_method_that_can_warp(tmp_path):
    with pytest.raises(UserError, match=r"^budget=1 is for methods .* give AR-Seg or DFF"):
        systems_of(checkpoints(tmp_path, image=IMAGE), Rows((Budget(1.0),)))


def test_scales_are_systems_of_one_network(clip, tmp_path):
    loaded = checkpoints(tmp_path, ar=AR, image=IMAGE)
    systems = systems_of(loaded, Rows(scales=(0.25, 0.5)))
    found = [(s.network.method, s.network.scale, s.checkpoint) for s in systems]
    assert found == [
        ("constant", 1.0, "ar"),
        ("constant", 0.5, "image"),
        ("warp only", 0.0, "ar"),
        ("AR", 0.25, "ar"),
        ("AR", 0.5, "ar"),
    ]
    scores = score_clips([*systems, *systems_of(loaded)], [clip], default_metrics(len(CLASSES), 4), "exact", CPU)
    counts = [found[CONFUSION] for found in scores]
    assert torch.equal(counts[4], counts[-1]), "the scale of the training"
    assert not torch.equal(counts[3], counts[4])
    trained = loaded["ar"].network
    assert load_checkpoint(tmp_path / "ar.ckpt", 0.25).network.scale == 0.25
    assert trained.scale == 0.5


@pytest.mark.parametrize(
    ("network", "scale", "message"),
    [
        (IMAGE, 0.5, r"^lr_scale=0.5 is for methods .* not for 'constant'; leave lr_scale out"),
        (AR, 1.5, r"^lr_scale=1.5 is out of range; give a number above 0, up to 1"),
        (AR, "half", r"^lr_scale=half is out of range; give a number above 0, up to 1"),
    ],
)
def test_a_scale_that_a_network_cannot_have_is_rejected(network, scale, message, tmp_path):
    loaded = checkpoints(tmp_path, net=network)
    with pytest.raises(UserError, match=message):
        systems_of(loaded, Rows(scales=(scale,)))


def test_blocks_count_what_the_confusion_matrices_count(clip, tmp_path):
    systems = systems_of(checkpoints(tmp_path, ar=AR))
    blocks = BlockCounts(len(systems), len(CLASSES), clip.gop, 2)
    found = score_clips(systems, [clip], default_metrics(len(CLASSES), clip.gop), "exact", CPU, blocks=blocks)
    counts = blocks.gathered()
    assert counts.shape[1] == 2, "frames 5 and 7 are the 2nd and 4th after the first scored one"
    for number, metric in enumerate(found):
        assert np.array_equal(counts[number, :, :, 0].sum(0), metric[CONFUSION].diagonal(dim1=-2, dim2=-1).numpy())
        score = float(iou(metric[CONFUSION]).nanmean(1).nanmean())
        assert mean_iou(counts[number].sum(0)) == pytest.approx(score, abs=1e-15)


def test_systems_are_scored_on_the_engine_that_was_asked_for(clip, tmp_path):
    systems = systems_of(checkpoints(tmp_path, ar=AR))
    images = [frame.image for frame in Video(clip.video, motion="none")][:1]
    plain = score_clips(systems, [clip], default_metrics(len(CLASSES), clip.gop), "exact", CPU)
    used = []

    def tune(runner: FrameRunner) -> None:
        used.append(runner.tune(images, "torch", "bf16", 1))

    found = score_clips(systems, [clip], default_metrics(len(CLASSES), clip.gop), "exact", CPU, tune=tune)
    assert used == [Engine("torch", "bf16")] * 3
    total = sum(metric[CONFUSION].sum() for metric in plain)
    assert sum(metric[CONFUSION].sum() for metric in found) == total
    moved = sum((a[CONFUSION] - b[CONFUSION]).abs().sum() for a, b in zip(plain, found, strict=True))
    assert 0 < moved < 0.05 * total, "close, not equal"


def test_processes_divide_what_is_scored(clip, tmp_path, monkeypatch):
    systems = systems_of(checkpoints(tmp_path, image=IMAGE))
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, len(CLASSES), (3, 48, 64, 4), np.uint8)
    stills = [Drawn(f"{n}", drawn[..., :3], drawn[..., 3]) for n, drawn in enumerate(pixels)]
    for score in (
        lambda: score_clips(systems, [clip] * 3, default_metrics(len(CLASSES), clip.gop), "exact", CPU),
        lambda: score_stills(systems, stills, default_metrics(len(CLASSES), 1, videos=False), CPU),
    ):
        (alone,) = score()
        parts = []
        for rank in range(2):
            monkeypatch.setattr("src.evaluation.scoring.rank_and_world_size", lambda rank=rank: (rank, 2))
            parts += [metric[CONFUSION] for metric in score()]
        monkeypatch.undo()
        assert torch.equal(alone[CONFUSION], sum(parts))
        assert all(part.any() for part in parts)


def test_still_images_are_keyframes(tmp_path):
    rng = np.random.default_rng(1)
    stills = [
        Drawn(str(n), rng.integers(0, 256, (48, 64, 3), np.uint8), rng.integers(0, len(CLASSES), (48, 64), np.uint8))
        for n in range(3)
    ]
    systems = systems_of(checkpoints(tmp_path, ar=AR))
    constant, warp, ar = score_stills(systems, stills, default_metrics(len(CLASSES), 1, videos=False), CPU)
    assert torch.equal(ar[CONFUSION], constant[CONFUSION])
    assert torch.equal(ar[CONFUSION], warp[CONFUSION])
    assert int(ar[CONFUSION].sum()) == 3 * 48 * 64
    row = result_of(systems[0], constant, CLASSES, (48, 64), 4)
    assert np.asarray(row["confusion"]).shape == (1, len(CLASSES), len(CLASSES))
    assert set(row["iou_by_distance"]) == set(CLASSES.names)
    assert row["miou"] == pytest.approx(np.mean([v for v in row["iou"].values() if v is not None]))


def test_classes_that_never_occur_are_null(tmp_path):
    image = np.zeros((48, 64, 3), np.uint8)
    systems = systems_of(checkpoints(tmp_path, image=IMAGE))
    (metric,) = score_stills(
        systems,
        [Drawn("dark", image, np.zeros((48, 64), np.uint8))],
        default_metrics(len(CLASSES), 1, videos=False),
        CPU,
    )
    assert None in result_of(systems[0], metric, CLASSES, (48, 64), 4)["iou"].values()


def test_checkpoints_of_other_classes_are_not_compared(tmp_path):
    one, other = (checkpoints(tmp_path, **{name: IMAGE})[name] for name in ("one", "other"))
    object.__setattr__(other, "classes", ClassSet(("a", "b", "c", "d"), CLASSES.palette))
    with pytest.raises(UserError, match=r"'other' was trained on other classes than 'one'"):
        systems_of({"one": one, "other": other})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"budget": [0.5, "fast"]}, "budget=fast is out of range"),
        ({"budget": [[1]]}, r"budget=\[1\] is out of range"),
        ({"policy": None}, "policy=None .* uniform, adaptive"),
        ({"policy": [["uniform"]]}, r"policy=\['uniform'\]"),
        ({"references": "none"}, "references=none"),
        ({"live": 0}, "live=0 is out of range"),
        ({"budget": [0.5, "20ms"], "policy": ["uniform"], "references": "both"}, "budget=20ms with references=both"),
    ],
)
def test_rows_that_cannot_be_are_rejected_before_any_work(changed, message):
    given = {"budget": None, "policy": "adaptive", "lr_scale": None, "references": "past", "live": None}
    with pytest.raises(UserError, match=message):
        Rows.of(**{**given, **changed})


@pytest.mark.parametrize("rows", [Rows((Budget(1.0),)), Rows(two_sided=True), Rows(live=15)])
def test_still_images_have_no_rows_of_videos(rows):
    rows.check_videos_are_scored(True)
    with pytest.raises(UserError, match="is for videos that are scored; leave it out"):
        rows.check_videos_are_scored(False)


def test_a_budget_of_time_is_a_system_whose_gmacs_are_those_of_its_frames(clip, tmp_path):
    loaded = checkpoints(tmp_path, ar=AR)
    costs = frame_costs(loaded["ar"].network, (48, 64))
    systems = systems_of(loaded, Rows((Budget(10_000.0, "ms"),), ("uniform",)))
    spendings: dict[int, list[Spending]] = {}
    metrics = default_metrics(len(CLASSES), clip.gop)
    found = score_clips(systems, [clip], metrics, "exact", CPU, spendings=spendings)
    row = result_of(systems[-1], found[-1], CLASSES, (48, 64), clip.gop, spendings[len(systems) - 1])
    assert (row["budget"], row["spending"]["unit"], row["spending"]["frames"]) == ("10000ms", "ms", {"key": 8})
    assert row["gmacs"]["amortised"] == pytest.approx(costs["key"])
    assert method_name(row["method"], row["scale"], row["budget"]) == "AR uniform 0.5x, 10000ms"
    assert method_name("AR", 0.5, 0.5) == "AR 0.5x, 0.5 GMACs"
