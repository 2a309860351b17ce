"""Decide frame by frame how much to compute, under a budget: run the network anew, at low resolution, or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from src.errors import check_range
from src.inference.keyframes import KeyedMotion, Plan
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


@dataclass
class Spending:
    """Spending under a budget.

    Attributes:
        budget: 10^9 multiply-adds per frame.
        window: frames that keep it.
        frames: how many were a "key", "nonkey" or "warp".
        gmacs: spent in all.
        worst: mean over the most expensive window.
    """

    budget: float
    window: int
    frames: Counter[str] = field(default_factory=Counter)
    gmacs: float = 0.0
    worst: float = 0.0

    @property
    def mean(self) -> float:
        """10^9 multiply-adds per frame."""
        return self.gmacs / max(1, self.frames.total())

    def as_dict(self) -> dict[str, Any]:
        """Plain Python form."""
        return {
            "budget": self.budget,
            "mean": round(self.mean, 4),
            "worst": round(self.worst, 4),
            "window": self.window,
            "frames": dict(sorted(self.frames.items())),
        }


def joined(spendings: Sequence[Spending]) -> Spending:
    """Add up what several videos cost under one budget."""
    frames = sum((one.frames for one in spendings), Counter[str]())
    gmacs, worst = sum(one.gmacs for one in spendings), max(one.worst for one in spendings)
    return Spending(spendings[0].budget, spendings[0].window, frames, gmacs, worst)


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
    """Chooses keyframes, and what is run between them, within a budget of multiply-adds; looks at no later frame.

    In any `window` consecutive frames no more is spent than the budget allows, one keyframe that the video itself may
    ask for (I frame, lost motion) included; a second one of that kind in a window is not refused.

    Args:
        costs: of "key", "nonkey" and "warp", 10^9 multiply-adds.
        budget: of a frame in the mean, in the same unit.
        window: frames that keep it; the GOP of the training.
        max_gop, all_intra: of `KeyedMotion`.

    Raises:
        UserError: the budget is below that of one keyframe in a window.
    """

    def __init__(
        self, costs: Mapping[str, float], budget: float, window: int, max_gop: int | None, all_intra: bool = False
    ) -> None:
        super().__init__(max_gop, all_intra)
        least = (costs["key"] + (window - 1) * costs["warp"]) / window
        check_range(
            budget >= least, "budget", budget,
            f"{least:.3g} GMACs or more, which a keyframe in {window} frames of this size costs",
        )  # fmt: skip
        self._costs, self._budget, self._window = dict(costs), budget, window
        self._chosen: deque[float] = deque(maxlen=window - 1)  # spent by choice on the latest frames
        self._latest: deque[float] = deque(maxlen=window)
        self._age = self._asked = 0  # frames since the latest keyframe, and the latest one that the video asked for
        self._evenly = 0.0  # of `window`, at which a keyframe is due where they are as even as the budget allows
        self.spending = Spending(budget, window)

    def plan(self, frame: Frame, skipped: bool = False) -> Plan:
        """Return what is done with the next frame."""
        motion = self.update(frame, skipped)
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
                self._evenly, self._asked = 0.0, 0
        kind = "key" if plan.motion is None else "warp" if plan.warp_only else "nonkey"
        cost = self._costs[kind] + (self._costs["nonkey"] if plan.probe_nonkey else 0)
        self.spending.frames[kind] += 1
        self.spending.gmacs += cost
        self._latest.append(cost)
        self.spending.worst = max(self.spending.worst, sum(self._latest) / self._window)
        self._chosen.append(cost if by_choice else self._costs["warp"])
        self._spent(frame, plan, cost)
        return plan

    @abstractmethod
    def _choose(self, frame: Frame, motion: MotionField) -> Plan:
        """Return what is done with a frame that need not be a keyframe."""

    def _spent(self, frame: Frame, plan: Plan, cost: float) -> None:
        """Take note of what is done with a frame, and what it costs."""

    def _is_due(self) -> bool:
        """Whether a keyframe is due where they are as even as the budget allows."""
        return self._evenly >= self._window and self._affords("key")

    def _keys_per_window(self) -> float:
        key, warp = self._costs["key"], self._costs["warp"]
        keys = self._window * (self._budget - warp) // (key - warp)
        # of these one is for the video, which has asked for none in a whole window and may do so
        return keys if self._asked < self._window else keys - 1

    def _affords(self, *kinds: str) -> bool:
        """Whether the window still has enough, beside a keyframe that the video may ask for."""
        reserved = self._costs["key"] - self._costs["warp"]
        left = self._budget * self._window - reserved - sum(self._chosen)
        return sum(self._costs[kind] for kind in kinds) <= left


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

    Each chosen keyframe teaches the prediction: its labels are those that warping should have given. That warp is not
    counted, a few thousandths of the keyframe.

    Arguments and errors are those of `BudgetedKeys`.
    """

    def __init__(
        self, costs: Mapping[str, float], budget: float, window: int, max_gop: int | None, all_intra: bool = False
    ) -> None:
        super().__init__(costs, budget, window, max_gop, all_intra)
        self._warped = Regression(START, (1.0, 0.2, 0.05), START_SAMPLES)
        self._nonkey = Regression(START_NONKEY, (1.0, 0.1), START_SAMPLES)
        interval = costs["key"] / max(budget - costs["warp"], costs["key"] / (4 * window))
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
        nonkey = min(warped, self._nonkey(1.0, warped)) + self._price * (self._costs["nonkey"] - self._costs["warp"])
        wrong = min(warped, nonkey)
        costly = self._price * self._costs["key"]
        wants_key = wrong * self._age - self._wrong >= max(costly, SMALLEST_GAIN)
        if wants_key and (self._is_due() or (warped > SUDDEN and self._affords("key"))):
            return Plan(None, False, motion, self._keyframes % PROBED == 0 and self._affords("key", "nonkey"))
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


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Brightness 0..1, shrunk."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(1, width // SHRINK), max(1, height // SHRINK)), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(255)
