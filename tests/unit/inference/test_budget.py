"""Frames computed within a budget of multiply-adds, of time, or of latency."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from src.checkpoints.load import load_checkpoint
from src.errors import UserError
from src.inference.budget import BUDGETED, AdaptiveKeys, BudgetedKeys, Regression, UniformKeys, keys_of
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner, runner_of
from src.inference.segment import Segmented, segment
from src.inference.spending import Budget, Spending, joined
from src.inference.streams import Stream, segment_streams
from src.metrics.cost import frame_costs, inference_cost
from src.models.arseg.net import WarpOnly
from src.models.video import FrameInput
from src.video.reading.decode import Video
from src.video.types import Frame
from tests.support.tiny_arseg import pair, tiny_arseg
from tests.support.tiny_runner import AR, exact_film, save_checkpoint

COSTS = {"key": 4.0, "nonkey": 1.0, "warp": 0.0}
WINDOW = 12
STILL = np.array([[0, 0, 32, 32, 0, 0]], np.float32)


def frames(levels: list[float], intra: tuple[int, ...] = (0,)) -> Iterator[Frame]:
    """A video whose whole image has one brightness (0..1) on each frame."""
    for n, level in enumerate(levels):
        image = np.full((32, 32, 3), round(255 * level), np.uint8)
        yield Frame(image, "I" if n in intra else "P", None if n in intra else STILL, Fraction(n, 15), n)


def kinds(keys: BudgetedKeys, video: Iterator[Frame], wrong: float = 1.0) -> str:
    """One letter for each frame: Key, Nonkey or Warp. Probes find `wrong` labels per change of brightness."""
    found, level, key_level = "", 0.0, 0.0
    for frame in video:
        plan, level = keys.plan(frame), float(frame.image.mean()) / 255
        if plan.probe is not None:
            change = abs(level - key_level)
            keys.learn(wrong * change, 0.4 * wrong * change if plan.probe_nonkey else None)
        if plan.motion is None:
            key_level = level
        found += "K" if plan.motion is None else "W" if plan.warp_only else "N"
    return found


def drifting(length: int, seed: int = 0) -> list[float]:
    steps = np.random.default_rng(seed).normal(0, 0.03, length)
    return list(np.clip(0.5 + steps.cumsum(), 0, 1))


@pytest.mark.parametrize("budget", [0.8, 1.5, 3.0])
@pytest.mark.parametrize("gop", [12, 30, 250])
@pytest.mark.parametrize("policy", BUDGETED)
def test_no_window_costs_more_than_the_budget(budget: float, gop: int, policy: str) -> None:
    keys = BUDGETED[policy](COSTS, Budget(budget), WINDOW, None)
    found = kinds(keys, frames(drifting(300), tuple(range(0, 300, gop))))
    spending = keys.spending
    counts = [spending.frames[kind] for kind in ("key", "nonkey", "warp")]
    assert counts == [found.count(letter) for letter in "KNW"]
    assert spending.worst <= budget
    assert spending.mean == pytest.approx(spending.total / 300)
    assert all(found[n] == "K" for n in range(0, 300, gop))


@pytest.mark.parametrize("gop", [50, 100])
@pytest.mark.parametrize("policy", BUDGETED)
def test_a_budget_of_one_keyframe_in_a_window_renews_it_where_the_video_does_not(gop: int, policy: str) -> None:
    keys = BUDGETED[policy](COSTS, Budget(0.4), WINDOW, None)
    found = kinds(keys, frames(list(0.5 + 0.4 * np.sin(np.arange(400) / 4)), tuple(range(0, 400, gop))))
    places = np.flatnonzero([kind == "K" for kind in found])
    assert np.diff(places).max() <= 3 * WINDOW
    windows = np.convolve([4 * (kind == "K") + (kind == "N") for kind in found], np.ones(WINDOW), "valid") / WINDOW
    over = np.flatnonzero(windows > 0.4)
    assert over.max(initial=0) <= gop, "once, at the video's second keyframe; from then on they are expected"
    assert windows.max() <= 0.4 + 4 / WINDOW


def test_windows_keep_a_budget_of_time_on_an_uneven_machine() -> None:
    quiet = {"key": 55.0, "nonkey": 24.0, "warp": 11.0}
    worst, means = [], []
    for seed in range(12):
        rng, drift = np.random.default_rng(seed), 0.0
        keys = UniformKeys(quiet, Budget(30.0, "ms"), WINDOW, None)
        for frame in frames([0.5] * 400, tuple(range(0, 400, 48))):
            plan = keys.plan(frame)
            drift = 0.95 * drift + rng.normal(0, 0.015)
            spent = quiet[plan.kind] * (1.03 + 0.07 * abs(rng.normal())) * float(np.exp(drift))
            keys.took(plan, 0.0, spent, spent)
        worst.append(keys.spending.worst)
        means.append(keys.spending.mean)
    assert max(worst) < 1.02 * 30
    assert np.mean(means) > 0.8 * 30


@pytest.mark.parametrize("policy", BUDGETED)
def test_the_least_budget_of_time_renews_keyframes_on_a_machine_slower_than_expected(policy: str) -> None:
    expected = {"key": 55.0, "nonkey": 24.0, "warp": 11.0}
    least = (expected["key"] + (WINDOW - 1) * expected["warp"]) / WINDOW
    keys, found = BUDGETED[policy](expected, Budget(least, "ms"), WINDOW, None), ""
    for frame in frames(drifting(400)):
        plan = keys.plan(frame)
        found += "K" if plan.motion is None else "-"
        spent = 1.05 * expected[plan.kind]
        keys.took(plan, 0.0, spent, spent)
    assert np.diff(np.flatnonzero([kind == "K" for kind in found])).max() <= 3 * WINDOW
    assert keys.spending.worst < 1.1 * least


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_milliseconds_are_those_that_frames_took(factor: float) -> None:
    keys = UniformKeys({"key": 20.0, "nonkey": 5.0, "warp": 1.0}, Budget(6.0, "ms"), WINDOW, None)
    actual = {"K": 40.0 * factor, "W": 2.0 * factor}
    found, spent = "", []
    for frame in frames([0.5] * 240):
        plan = keys.plan(frame)
        found += "K" if plan.motion is None else "W"
        spent.append(actual[found[-1]])
        keys.took(plan, 0.0, spent[-1], spent[-1])
    assert keys.spending.total == pytest.approx(sum(spent))
    assert keys.costs["key"] == pytest.approx(40 * factor, rel=0.1)
    assert keys.costs["warp"] == pytest.approx(2 * factor, rel=0.05)
    windows = np.convolve(spent, np.ones(WINDOW), "valid") / WINDOW
    assert keys.spending.worst == pytest.approx(windows.max())
    assert windows[60:].max() <= 6.0, "once it is known what frames take"
    keys = 180 / WINDOW * ((6.0 * WINDOW - WINDOW * actual["W"]) // (actual["K"] - actual["W"]) - 1)
    assert found[60:].count("K") >= max(180 / WINDOW, 0.85 * keys) - 1, "one of a window's stays in reserve"


@pytest.mark.parametrize("policy", BUDGETED)
def test_the_reserve_of_a_larger_budget_stays_for_the_video(policy: str) -> None:
    keys = BUDGETED[policy](COSTS, Budget(0.8), WINDOW, None)
    levels = list(0.5 + 0.4 * np.sin(np.arange(300) / 3))
    kinds(keys, frames(levels, (0, 41, 97, 150, 233)))
    assert keys.spending.worst <= 0.8


@pytest.mark.parametrize("costs", [{"key": 1.0, "nonkey": 1.0, "warp": 2.0}, {"key": 9.0, "nonkey": 8.0, "warp": 7.0}])
def test_times_out_of_order_keep_choosing_keyframes(costs: dict[str, float]) -> None:
    keys = UniformKeys({"key": 20.0, "nonkey": 5.0, "warp": 1.0}, Budget(6.0, "ms"), WINDOW, None)
    for n, frame in enumerate(frames([0.5] * 300)):
        plan = keys.plan(frame)
        now = costs[plan.kind] if 2 <= n < 60 else {"key": 20.0, "nonkey": 5.0, "warp": 1.0}[plan.kind]
        keys.took(plan, 0.0, now, now)
        if n == 150:
            before = keys.spending.frames["key"]
    assert keys.spending.frames["key"] >= before + 10, "after a stall the machine is as fast as before"


def played(
    keys: BudgetedKeys, frames_: Iterator[Frame], fps: float, takes: Callable[[str], float]
) -> tuple[str, list[float]]:
    """One letter for each frame, and its latency in ms on a camera: frames wait for those before them."""
    found, latencies, free = "", [], 0.0
    for n, frame in enumerate(frames_):
        arrives = n * 1000 / fps
        plan = keys.plan(frame)
        spent = takes(plan.kind)
        keys.took(plan, 0.0, spent, spent)
        free = max(free, arrives) + spent
        latencies.append(free - arrives)
        found += "K" if plan.motion is None else "W" if plan.warp_only else "N"
    return found, latencies


CAMERA = {"key": 55.0, "nonkey": 24.0, "warp": 11.0}


def gaps(found: str) -> NDArray[np.int64]:
    """Frames from each keyframe to the next."""
    return np.diff(np.flatnonzero([kind == "K" for kind in found]))


@pytest.mark.parametrize(("policy", "most"), [("uniform", 24), ("adaptive", 80)])
@pytest.mark.parametrize("latency", [80.0, 95.0])
def test_labels_are_in_time_whenever_the_video_asks_for_a_keyframe(policy: str, most: int, latency: float) -> None:
    rng = np.random.default_rng(0)
    asked = tuple(np.cumsum(rng.integers(2, 80, 14)) - 2)
    keys, took = BUDGETED[policy](CAMERA, Budget(latency, "ms", 30.0), WINDOW, None), list[float]()

    def takes(kind: str) -> float:
        took.append(CAMERA[kind] * rng.uniform(0.95, 1.05))
        return took[-1]

    found, latencies = played(keys, frames(drifting(600), (0, *asked)), 30.0, takes)
    assert asked[-1] < 600
    chosen = {n for n, kind in enumerate(found) if kind == "K"} - {0, *asked}
    assert len(chosen) > 20
    assert gaps(found).max() <= most
    assert max(latencies) < 1.03 * latency
    assert keys.spending.worst == pytest.approx(max(latencies))
    assert keys.spending.exceeded == sum(one > latency for one in latencies)
    assert keys.spending.total >= sum(took) - 1e-6, "probes come on top"


def test_keyframes_without_room_for_two_are_chosen_away_from_those_of_the_video() -> None:
    asked = tuple(range(0, 600, 25))
    keys = UniformKeys(CAMERA, Budget(66.0, "ms", 30.0), WINDOW, None)
    found, latencies = played(keys, frames([0.5] * 600, asked), 30.0, CAMERA.__getitem__)
    assert 2 * CAMERA["key"] - 1000 / 30 > 66
    assert max(latencies[26:]) <= 66, "once it is known when the video asks"
    assert keys.spending.exceeded <= 1
    chosen = [n for n, kind in enumerate(found) if kind == "K" and n not in asked]
    assert len(chosen) >= len(asked) - 1, "one in each GOP"
    assert gaps(found).max() <= 2 * WINDOW


def test_time_to_plan_counts() -> None:
    keys = UniformKeys(CAMERA, Budget(95.0, "ms", 30.0), WINDOW, None)
    for n, frame in enumerate(frames([0.5] * 50)):
        plan = keys.plan(frame)
        keys.took(plan, 10.0, CAMERA[plan.kind], CAMERA[plan.kind])
        assert n or keys.spending.worst == pytest.approx(65), "a keyframe, and its plan"
    assert keys.spending.total == pytest.approx(sum((CAMERA[k] + 10) * n for k, n in keys.spending.frames.items()))


def test_a_probe_that_does_not_fit_is_left_out() -> None:
    plans = {}
    for latency in (80.0, 95.0):
        keys = AdaptiveKeys(CAMERA, Budget(latency, "ms", 30.0), WINDOW, None)
        plans[latency] = []
        for frame in frames(drifting(200)):
            plan = keys.plan(frame)
            if plan.motion is None and plan.probe is not None:
                keys.learn(0.2, None)
            spent = CAMERA[plan.kind] + (CAMERA["warp"] if plan.probe is not None else 0.0)
            keys.took(plan, 0.0, CAMERA[plan.kind], spent)
            plans[latency].append(plan)
    assert sum(plan.motion is None for plan in plans[80.0]) > 10
    assert not any(plan.probe is not None for plan in plans[80.0])
    assert any(plan.probe is not None for plan in plans[95.0])


def test_more_time_is_used_for_more_keyframes() -> None:
    counts = [
        played(
            UniformKeys(CAMERA, Budget(85.0, "ms", fps), WINDOW, None), frames([0.5] * 300), fps, CAMERA.__getitem__
        )[0].count("K")
        for fps in (50.0, 30.0, 20.0, 10.0)
    ]
    assert counts[0] < counts[1] < counts[2] < counts[3] == 300


@pytest.mark.parametrize("stalled", ["key", "warp"])
@pytest.mark.parametrize("drops", [True, False])
def test_keyframes_are_chosen_again_after_a_stall(stalled: str, drops: bool) -> None:
    keys, found, latencies, free, due = UniformKeys(CAMERA, Budget(100.0, "ms", 30.0), WINDOW, None), "", [], 0.0, True
    for n, frame in enumerate(frames([0.5] * 400)):
        arrives = n * 1000 / 30
        if drops and free >= arrives + 1000 / 30:
            keys.plan(frame, skipped=True)
            found += "-"
        else:
            plan = keys.plan(frame)
            spent, due = (500.0, False) if due and n >= 100 and plan.kind == stalled else (CAMERA[plan.kind], due)
            keys.took(plan, 0.0, spent, spent)
            free = max(free, arrives) + spent
            latencies.append(free - arrives)
            found += "K" if plan.motion is None else "W"
    late = [latency for latency in latencies if latency > 100]
    assert late[0] > 450
    assert keys.spending.exceeded == len(late) <= (1 if drops else 19)
    assert ("-" in found) == drops
    assert found[200:].count("K") / 200 >= 0.9 * found[:100].count("K") / 100


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("50ms@30", "55ms or more, the time of a keyframe of this size"),
        ("100ms@90", "68.1 frames per second or fewer, which one keyframe in 12 frames of this size leaves time for"),
    ],
)
def test_a_latency_below_one_keyframe_or_a_rate_above_the_machine_is_rejected(given: str, remedy: str) -> None:
    with pytest.raises(UserError, match=f"^budget={given} is out of range; give {remedy}$"):
        UniformKeys(CAMERA, Budget.of(given), WINDOW, None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (2, Budget(2.0)),
        ("0.5", Budget(0.5)),
        ("20ms", Budget(20.0, "ms")),
        ("66ms@29.97", Budget(66.0, "ms", 29.97)),
        (" 66.5ms @ 23.976023976 ", Budget(66.5, "ms", 23.976023976)),
    ],
)
def test_budgets_are_gmacs_or_milliseconds_or_a_latency(given: object, expected: Budget) -> None:
    assert Budget.of(given) == expected
    assert Budget.of(expected.given) == expected


@pytest.mark.parametrize(
    "given", [0, -1, True, None, "fast", "ms", "20 s", float("inf"), [1], "2@30", "20ms@", "20ms@0", "20ms@x", "@30"]
)
def test_other_budgets_are_rejected(given: object) -> None:
    with pytest.raises(
        UserError, match=r"^budget=.* is out of range; give GMACs per frame above 0, such as 2, or mill"
    ):
        Budget.of(given)


@pytest.mark.parametrize(
    ("budget", "gop", "expected"), [(1.3, 12, {4}), (2.1, 12, {2}), (3.0, 12, {1, 2}), (1.3, 300, {6})]
)
def test_uniform_keyframes_are_evenly_spaced(budget: float, gop: int, expected: set[int]) -> None:
    keys = UniformKeys(COSTS, Budget(budget), WINDOW, None)
    found = kinds(keys, frames(drifting(300), tuple(range(0, 300, gop))))
    places = np.array([n for n, kind in enumerate(found) if kind == "K"])
    assert set(np.diff(places[places >= 3 * WINDOW]).tolist()) <= expected
    assert "N" not in found


def test_more_budget_is_spent_on_more_keyframes() -> None:
    counts = []
    for budget in (0.6, 1.2, 2.4):
        keys = AdaptiveKeys(COSTS, Budget(budget), WINDOW, None)
        counts.append(kinds(keys, frames(drifting(300))).count("K"))
    assert counts[0] < counts[1] < counts[2]


def test_a_video_at_rest_costs_one_keyframe() -> None:
    keys = AdaptiveKeys(COSTS, Budget(2.0), WINDOW, None)
    found = kinds(keys, frames([0.5] * 200))
    assert found[60:].count("K") == 0, "once what warping does there is learned"


def test_keyframes_come_where_the_image_changes() -> None:
    keys = AdaptiveKeys(COSTS, Budget(1.0), WINDOW, None)
    levels = [0.5] * 60 + drifting(60, seed=1) + [0.5] * 60
    found = kinds(keys, frames(levels))
    assert found[60:120].count("K") > 2 * (found[30:60].count("K") + found[150:].count("K"))


def test_fast_motion_after_a_pause_does_not_take_the_whole_window_at_its_start() -> None:
    keys = AdaptiveKeys(COSTS, Budget(1.3), WINDOW, None)
    fast = list(np.clip(0.5 + 0.04 * np.arange(1, 37) % 0.4, 0, 1))
    found = kinds(keys, frames([0.5] * 60 + fast, tuple(range(0, 96, WINDOW))))
    places = np.flatnonzero([kind == "K" for kind in found])
    gaps = np.diff(places[places >= 60])
    assert gaps.min() >= 3, "four keyframes in a window, as evenly as they can be"
    assert found[12:60].count("K") < found[60:].count("K") * 48 / 36, "less is spent in the pause"


def test_a_sudden_change_is_a_keyframe_at_once() -> None:
    keys = AdaptiveKeys(COSTS, Budget(1.0), WINDOW, None)
    assert kinds(keys, frames([0.2] * 50 + [0.9] * 5))[50] == "K"


def test_the_low_branch_runs_where_a_keyframe_is_out_of_reach() -> None:
    keys = AdaptiveKeys(COSTS, Budget(0.8), WINDOW, None)
    assert "N" in kinds(keys, frames(drifting(300)))


def test_too_small_a_budget_is_rejected_with_the_least_one() -> None:
    with pytest.raises(
        UserError, match=r"^budget=0.3 is out of range; give 0.334 or more, the GMACs per frame of one keyframe in 12"
    ):
        AdaptiveKeys(COSTS, Budget(0.3), WINDOW, None)


def test_no_later_frame_is_looked_at() -> None:
    levels = drifting(100)
    whole = kinds(AdaptiveKeys(COSTS, Budget(1.0), WINDOW, None), frames(levels))
    assert kinds(AdaptiveKeys(COSTS, Budget(1.0), WINDOW, None), frames(levels[:60])) == whole[:60]


def test_regression_finds_a_line() -> None:
    regression, rng = Regression((0.0, 0.0), (1.0, 0.1), 4.0), np.random.default_rng(0)
    for x in rng.uniform(0, 0.3, 60):
        regression.learn(0.02 + 0.7 * x, 1.0, x)
    assert regression(1.0, 0.2) == pytest.approx(0.16, abs=0.003)


def test_what_several_videos_cost_is_joined() -> None:
    one, other = Spending(Budget(1.0), 12), Spending(Budget(1.0), 12)
    one.frames.update(key=2, warp=2)
    other.frames.update(key=1)
    one.total, other.total = 8.0, 4.0
    for spending, level in ((one, 0.7), (other, 1.1), (other, 0.2)):
        spending.reach(level)
    both = joined([one, other])
    assert (both.frames, both.mean, both.worst, both.exceeded) == ({"key": 3, "warp": 2}, 12 / 5, 1.1, 1)


@torch.inference_mode()
def test_a_warped_frame_is_the_keyframe_moved() -> None:
    net = tiny_arseg().eval()
    key, image, motion, valid = pair()
    state = net.step(FrameInput(key), net.init_state())[1]
    expected, _ = WarpOnly(net).step(FrameInput(image, motion, valid), state)
    found, after = net.step(FrameInput(image, motion, valid, warp_only=True), state)
    assert torch.equal(found, expected)
    assert after is state
    assert not torch.equal(found, net.step(FrameInput(image, motion, valid), state)[0])


def test_costs_of_frames_are_those_of_the_cycle() -> None:
    net, size = tiny_arseg(), (36, 52)
    costs, own, warped = frame_costs(net, size), inference_cost(net, size, 4), inference_cost(WarpOnly(net), size, 4)
    assert (costs["key"], costs["nonkey"], costs["warp"]) == (own.gmacs_key, own.gmacs_nonkey, warped.gmacs_nonkey)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exact_film(tmp_path_factory.mktemp("video") / "video.mp4", 40, gop=40, height=48, width=64)


def test_times_of_a_frame_are_measured_by_kind(runner: FrameRunner) -> None:
    times = runner.times(48, 64)
    assert set(times) == {"key", "nonkey", "warp"}
    assert runner.times(48, 64) is times, "once for each size"
    keys = keys_of("uniform", Budget(sum(times.values()), "ms"), runner, (48, 64), 5)
    assert isinstance(keys, BudgetedKeys)
    assert keys.costs == times
    counted = keys_of("uniform", Budget(1.0), runner, (48, 64), 5, two_sided=True)
    costs = runner.costs(48, 64)
    assert isinstance(counted, BudgetedKeys)
    assert counted.costs == {**costs, "warp": 2 * costs["warp"]}


@pytest.fixture
def runner(tmp_path: Path) -> FrameRunner:
    return runner_of(load_checkpoint(save_checkpoint(tmp_path / "net.ckpt", AR)), torch.device("cpu"))


def within(runner: FrameRunner, share: float) -> BudgetedKeys:
    """Keys for a share of what keyframes alone would cost."""
    costs = runner.costs(48, 64)
    return AdaptiveKeys(costs, Budget(share * costs["key"]), 5, None)


def test_labels_are_those_of_each_kind_of_frame(video: Path, runner: FrameRunner) -> None:
    found = list(segment(Video(video), runner, within(runner, 0.5)))
    assert {r.warp_only for r in found} == {True, False}
    state, keyed = None, KeyedMotion(None)
    for result in found:
        motion = keyed.update(result.frame)
        if result.is_key:
            keyed = KeyedMotion(None)
            motion, state = keyed.update(result.frame), runner.init_state()
        labels, state = runner.step(result.frame.image, state, motion, warp_only=result.warp_only)
        assert np.array_equal(labels, result.labels), result.frame.index


@pytest.mark.parametrize("workers", [1, 2])
def test_streams_keep_budgets_of_their_own(video: Path, runner: FrameRunner, workers: int) -> None:
    shares = (0.3, 0.6)
    alone = [list(segment(Video(video), runner, within(runner, share))) for share in shares]
    together: list[list[Segmented]] = [[], []]
    streams = [
        Stream(Video(video), within(runner, share), found.append, lambda error: None)
        for share, found in zip(shares, together, strict=True)
    ]
    segment_streams(iter(streams), runner, 2, 0, workers)
    for one, other in zip(alone, together, strict=True):
        assert [(r.is_key, r.warp_only) for r in one] == [(r.is_key, r.warp_only) for r in other]
    assert [r.is_key for r in alone[0]] != [r.is_key for r in alone[1]]
