"""Decide frame by frame how much to compute, under a budget: run the network anew, at low resolution, or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from src.errors import UserError, check_choice
from src.inference.keyframes import KeyedMotion, Plan
from src.inference.runner import FrameRunner
from src.inference.spending import Budget, Spending, allowance_of
from src.models.video import VideoSegmenter
from src.video.types import Frame, MotionField

SHRINK = 8  # of the images whose difference says how much has changed
PROBED = 8  # keyframes from one at which the low-resolution branch is compared, too, to the next
PACE = 0.1  # of the price: relative change after a frame that costs twice the budget
SUDDEN = 0.3  # share of wrong labels that a keyframe is for at once, where the window affords it
SMALLEST_GAIN = 0.01  # share of one frame's labels that a keyframe has to be worth
# Where learning starts: labels that differ from the high branch's by keyframes' distance and change, and their weight
# in samples. Set by eye from what two street videos showed.
START, START_SAMPLES = (0.01, 0.1, 0.6), 1.0
START_NONKEY = (0.01, 0.55)
MEMORY = 0.98  # weight of a sample beside the next
NEWEST = 0.1  # weight of the time that a frame has just taken, in what one of its kind is expected to take
STALLED = 2.0  # multiple of the expected time, above which the machine stalled: a longer time counts as so much


class Regression:
    """Least squares with weights of 0 or more, updated sample by sample.

    Args:
        weights: at the start.
        scales: usual sizes of the inputs.
        samples: that the start counts for.
    """

    def __init__(self, weights: tuple[float, ...], scales: tuple[float, ...], samples: float) -> None:
        self._weights, self._scales = np.array(weights, np.float64), np.array(scales, np.float64)
        self._covariance = np.eye(len(weights)) / samples

    def __call__(self, *inputs: float) -> float:
        """Return what is expected."""
        return float(self._weights @ np.array(inputs))

    def learn(self, found: float, *inputs: float) -> None:
        """Take note of a sample (recursive least squares, older ones count less)."""
        x = np.array(inputs) / self._scales
        gain = self._covariance @ x / (MEMORY + x @ self._covariance @ x)
        self._covariance = (self._covariance - np.outer(gain, x @ self._covariance)) / MEMORY
        changed = self._weights + gain * (found - self._weights @ np.array(inputs)) / self._scales
        self._weights = np.maximum(0, changed)


class BudgetedKeys(KeyedMotion, ABC):
    """Chooses keyframes, and what is run between them, within a budget; looks at no later frame.

    In any `window` consecutive frames no more is spent than the budget allows, one keyframe that the video itself may
    ask for (I frame, lost motion) included. Beyond it are a second one of that kind in a window, and one that
    comes unexpectedly where the budget is below two keyframes in a window: rather than moving old labels for
    ever, its own keyframe is spent then. A frame may well take the mean milliseconds of its kind
    and their mean deviation; a window in which the machine is much slower than that costs more.

    Where the budget is a latency, frames arrive at its rate and wait for those before them. A keyframe is chosen where
    its labels are in time, and so would be those of a keyframe that the video asks for on the next frame; where that is
    never so, once in a window, when no frame waits and the video's next I frame is not expected.

    Args:
        costs: of "key", "nonkey" and "warp", in the unit of the budget.
        budget: of a frame.
        window: frames that keep it; the GOP of the training.
        max_gop, all_intra: of `KeyedMotion`.

    Attributes:
        costs: of a frame of each kind.
        spending: until now.

    Raises:
        UserError: of `allowance_of`.
    """

    def __init__(
        self, costs: Mapping[str, float], budget: Budget, window: int, max_gop: int | None, all_intra: bool = False
    ) -> None:
        super().__init__(max_gop, all_intra)
        self._allowance = allowance_of(budget, window, costs)
        self.costs, self._budget, self._window = dict(costs), budget.mean, window
        self._deviations = dict.fromkeys(costs, 0.0)  # mean ones, where times are measured
        self._is_measured = budget.unit == "ms"
        self._expected = 0.0  # cost of the latest frame
        self._age = self._asked = 0  # frames since the latest keyframe, and the latest one that the video asked for
        self._interval = 0  # from that to the one before; 0: unknown
        self._evenly = 0.0  # of `window`, at which a keyframe is due where they are as even as the budget allows
        self.spending = Spending(budget, window)

    def plan(self, frame: Frame, skipped: bool = False) -> Plan:
        """Return what is done with the next frame."""
        motion = self.update(frame, skipped)
        self._allowance.arrive()
        if skipped:
            return Plan(motion)
        self._age, self._asked = self._age + 1, self._asked + 1
        self._evenly += self._keys_per_window()
        plan = Plan(None) if motion is None else self._choose(frame, motion)
        by_choice = motion is not None
        if plan.motion is None:
            self._age = 0
            if by_choice:
                over = self._evenly - self._window  # what a whole number of frames leaves; not what waiting has added
                self._evenly = over if 0 < over < self._keys_per_window() else 0.0
                self._restart(frame)
            else:
                self._interval = self._asked if self.spending.total else 0
                self._evenly, self._asked = 0.0, 0
        probes = ["nonkey"] if plan.probe_nonkey else []
        if plan.probe is not None and self._is_measured:
            probes.append("warp")
        cost = sum(self.costs[kind] for kind in (plan.kind, *probes))
        self.spending.frames[plan.kind] += 1
        self.spending.total += cost
        self._expected = cost
        self._allowance.spend(cost, by_choice)
        if not self._is_measured:
            self.spending.reach(self._allowance.level)
        self._spent(frame, plan, cost)
        return plan

    def took(self, plan: Plan, planning: float, step: float, whole: float) -> None:
        """Take note of the milliseconds of the latest frame: those replace what was expected of it."""
        if self._is_measured:
            if self.spending.budget.fps is not None:  # labels wait for what was decided, too
                step, whole = planning + step, planning + whole
            off = min(step, STALLED * self.costs[plan.kind]) - self.costs[plan.kind]
            self.costs[plan.kind] += NEWEST * off
            self._deviations[plan.kind] += NEWEST * (abs(off) - self._deviations[plan.kind])
            self.spending.total += whole - self._expected
            self._allowance.correct(self._expected, step, whole)
            self.spending.reach(self._allowance.level)

    @abstractmethod
    def _choose(self, frame: Frame, motion: MotionField) -> Plan:
        """Return what is done with a frame that need not be a keyframe."""

    def _spent(self, frame: Frame, plan: Plan, cost: float) -> None:
        """Take note of what is done with a frame, and what it costs."""

    def _is_due(self) -> bool:
        """Whether a keyframe is due where they are as even as the budget allows."""
        return self._evenly >= self._window and self._affords_key()

    def _keys_per_window(self) -> float:
        keys = self._affordable()
        # a video that has asked for none in a whole window may do so, and its own does not come out of these
        return keys if self._asked < self._window else max(1, keys - self._allowance.reserved)

    def _affordable(self) -> int:
        """Keyframes in a window with warped frames between them."""
        return self._allowance.keyframes(self._may_take("key"), self._may_take("warp"))

    def _may_take(self, kind: str) -> float:
        return self.costs[kind] + self._deviations[kind]

    def _affords_key(self) -> bool:
        return (self._is_stale() and self._allowance.is_idle) or self._affords("key")

    def _affords(self, *kinds: str) -> bool:
        """Whether frames of these kinds can be run on one frame, beside a keyframe that the video may ask for."""
        return self._allowance.affords(sum(map(self._may_take, kinds)), self._may_take("key"), self._may_take("warp"))

    def _is_stale(self) -> bool:
        """Whether a whole window had no keyframe, of one that it may have, and the video's own is not expected next."""
        expected = self._interval - self._window < self._asked < self._interval
        return self._affordable() < 2 and self._age >= self._window and not expected


class UniformKeys(BudgetedKeys):
    """Keyframes as evenly as the budget allows, whatever the images show, and warped frames between them.

    Arguments and errors are those of `BudgetedKeys`.
    """

    def _choose(self, frame: Frame, motion: MotionField) -> Plan:
        return Plan(None) if self._is_due() else Plan(motion, warp_only=True)


class AdaptiveKeys(BudgetedKeys):
    """Spends a budget where the labels are expected to gain most.

    On each frame the share of labels that warping would get wrong is predicted from the distance to the keyframe and
    from how the image has changed since. A new keyframe comes where that exceeds the mean cost of a frame since the
    last one, wrong labels and spending together, at which waiting costs more than a keyframe (the marginal
    value theorem). Spending is weighed by a price, which rises while more than the budget is spent and falls else.
    Between keyframes the low-resolution branch runs where it is worth its price. Chosen keyframes are at least as far
    apart as `UniformKeys` sets them, but for sudden changes: after a pause the price is so low that the first frames
    of fast motion would take all that their window has.

    Each chosen keyframe that leaves room for it teaches the prediction: its labels are those that warping should have
    given. Of budgets of multiply-adds that warp is not counted, a few thousandths of the keyframe.

    Arguments and errors are those of `BudgetedKeys`.
    """

    def __init__(
        self, costs: Mapping[str, float], budget: Budget, window: int, max_gop: int | None, all_intra: bool = False
    ) -> None:
        super().__init__(costs, budget, window, max_gop, all_intra)
        self._warped = Regression(START, (1.0, 0.2, 0.05), START_SAMPLES)
        self._nonkey = Regression(START_NONKEY, (1.0, 0.1), START_SAMPLES)
        interval = costs["key"] / max(budget.mean - costs["warp"], costs["key"] / (4 * window))
        self._price = START[1] / window * interval**2 / (2 * costs["key"])
        self._key: NDArray[np.float32] | None = None  # its image, shrunk
        self._wrong, self._keyframes = 0.0, 0
        self._inputs: tuple[float, ...] = ()

    def learn(self, warped: float, nonkey: float | None) -> None:
        """Learn from what a keyframe found."""
        self._warped.learn(warped, *self._inputs)
        if nonkey is not None:
            self._nonkey.learn(nonkey, 1.0, warped)

    def _choose(self, frame: Frame, motion: MotionField) -> Plan:
        assert self._key is not None  # the first frame is one
        change = float(np.abs(_shrunk(frame.image) - self._key).mean())
        self._inputs = (1.0, self._age / self._window, change)
        warped = self._warped(*self._inputs)
        nonkey = min(warped, self._nonkey(1.0, warped)) + self._price * (self.costs["nonkey"] - self.costs["warp"])
        wrong = min(warped, nonkey)
        costly = self._price * self.costs["key"]
        wants_key = wrong * self._age - self._wrong >= max(costly, SMALLEST_GAIN)
        if wants_key and (self._is_due() or (warped > SUDDEN and self._affords_key())):
            probe = ("warp",) if self._is_measured else ()
            if not self._affords("key", *probe):
                return Plan(None)
            return Plan(None, False, motion, self._keyframes % PROBED == 0 and self._affords("key", *probe, "nonkey"))
        self._wrong += wrong
        if wants_key:  # what the window refuses is too cheap: earlier keyframes were worth less than this one
            self._price *= float(np.exp(2 * PACE))
        return Plan(motion, warped <= nonkey or not self._affords("nonkey"))

    def _spent(self, frame: Frame, plan: Plan, cost: float) -> None:
        if plan.motion is None:
            self._key, self._wrong = _shrunk(frame.image), 0.0
            self._keyframes += 1
        self._price *= float(np.exp(PACE * (cost / self._budget - 1)))


BUDGETED: dict[str, Callable[..., BudgetedKeys]] = {"uniform": UniformKeys, "adaptive": AdaptiveKeys}  # by policy
POLICIES = ("fixed", "stream", *BUDGETED)


def budget_of(policy: object, budget: object) -> Budget | None:
    """Return the budget that a policy keeps, of both as a configuration gives them.

    Raises:
        UserError: no such policy or budget, or one that does not belong to the other.
    """
    check_choice("policy", policy, POLICIES)
    if (budget is not None) != (policy in BUDGETED):
        raise UserError(
            f"policy={policy} with budget={'null' if budget is None else budget}: a budget belongs to policy=adaptive "
            "or uniform; give both, such as policy=adaptive budget=2 (GMACs), budget=20ms or budget=66ms@30, or neither"
        )
    return None if budget is None else Budget.of(budget)


def keys_of(
    policy: str,
    budget: Budget | None,
    runner: FrameRunner,
    size: tuple[int, int],
    window: int,
    max_gop: int | None = None,
    all_intra: bool = False,
    two_sided: bool = False,
) -> KeyedMotion:
    """Return what chooses the keyframes of a video.

    Args:
        policy: one of `POLICIES`.
        budget: of those of `BUDGETED`.
        window: of `BudgetedKeys`; `max_gop` of "fixed" where that is None.
        max_gop, all_intra: of `KeyedMotion`.
        runner: of the method, which can warp, on its engine.
        size: of the images.
        two_sided: frames between keyframes are moved to from both; those after the last keyframe, which are from one,
            are counted as if they were. For budgets of multiply-adds.

    Raises:
        UserError: the budget is too small.
    """
    if budget is None:
        return KeyedMotion(max_gop or (window if policy == "fixed" else None), all_intra)
    costs = runner.costs(*size) if budget.unit == "GMACs" else runner.times(*size)
    if two_sided:
        costs = costs | {"warp": 2 * costs["warp"]}
    return BUDGETED[policy](costs, budget, window, max_gop, all_intra)


def check_can_warp(network: VideoSegmenter, given: str) -> None:
    """Reject what is `given` in a configuration and leaves frames to their motion, where the network cannot.

    Raises:
        UserError: it has no `can_warp`.
    """
    if not network.can_warp:
        raise UserError(
            f"{given} is for methods that can leave a frame to its motion, not for '{network.method}'; give "
            "AR-Seg or DFF, or leave out what you gave of policy=, budget= and references="
        )


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Brightness 0..1, shrunk."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(1, width // SHRINK), max(1, height // SHRINK)), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(255)
