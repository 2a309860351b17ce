"""A limit on what frames cost, what it still allows, and what was spent of it."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from src.errors import UserError, check_range

Unit = Literal["GMACs", "ms"]


_GIVEN = re.compile(r"([^m@]+)(?:(ms)\s*(?:@(.+))?)?")  # amount, unit, frames per second


@dataclass(frozen=True)
class Budget:
    """A limit on the mean cost of a frame, or on the time from the arrival of a frame to its labels.

    Attributes:
        amount: in the unit.
        unit: 10^9 multiply-adds, or milliseconds of the network on the running machine.
        fps: frames that arrive in a second, where the amount is a latency; None: it is the mean of a frame.
    """

    amount: float
    unit: Unit = "GMACs"
    fps: float | None = None

    @classmethod
    def of(cls, given: object) -> Budget:
        """Return the budget that a configuration gives: a number of GMACs, or a text such as "20ms" or "66ms@30".

        Raises:
            UserError: anything else, or a number not above 0.
        """
        found = None if isinstance(given, bool) else _GIVEN.fullmatch(str(given).strip())
        try:
            amount, ms, fps = found.groups() if found else ("", None, None)
            return cls(_positive(amount), "ms" if ms else "GMACs", None if fps is None else _positive(fps))
        except ValueError:
            raise UserError(
                f"budget={given} is out of range; give GMACs per frame above 0, such as 2, or milliseconds, such as "
                "20ms, or milliseconds from the arrival of a frame to its labels at frames per second, such as 66ms@30"
            ) from None

    @property
    def mean(self) -> float:
        """Mean cost that a frame may have; of a latency the time from frame to frame."""
        return self.amount if self.fps is None else 1000 / self.fps

    def check_two_sided(self) -> None:
        """Reject a budget that cannot be kept with references on both sides.

        Raises:
            UserError: it is one of time.
        """
        if self.unit == "ms":
            raise UserError(
                f"budget={self.given} with references=both: motion to the later keyframe takes time that is not "
                "planned; give a budget of GMACs, such as budget=2, or references=past"
            )

    @property
    def given(self) -> str:
        """As a configuration gives it."""
        rate = "" if self.fps is None else f"@{self.fps:.12g}"
        return f"{self.amount:.12g}" + (f"ms{rate}" if self.unit == "ms" else "")


class Allowance(ABC):
    """Allowance of a budget for the next frames.

    Attributes:
        level: the mean cost of the latest window, or the latency of the latest frame, which the budget limits.
        reserved: keyframes of a window that are left to the video, which may ask for them on any frame.
        is_idle: whether all earlier frames were done when the latest one arrived.
    """

    level: float = 0.0
    reserved: int = 1
    is_idle: bool = True

    @abstractmethod
    def arrive(self) -> None:
        """Take note that the next frame is there."""

    @abstractmethod
    def affords(self, cost: float, key: float, warp: float) -> bool:
        """Whether a frame may cost so much, and a keyframe that the video asks for after it still fits.

        Args:
            cost: of all that is run on the frame.
            key, warp: costs of a keyframe and of one that is only warped.
        """

    @abstractmethod
    def spend(self, cost: float, by_choice: bool) -> None:
        """Take note of what a frame costs, and whether it was chosen or asked for by the video."""

    @abstractmethod
    def correct(self, expected: float, step: float, whole: float) -> None:
        """Replace the expected time of the latest frame by what it took, to its labels and until all was done."""

    @abstractmethod
    def keyframes(self, key: float, warp: float) -> int:
        """Count the keyframes that a window may have, with warped frames between them."""


class _MeanOfWindow(Allowance):
    """No window costs more than the amount in the mean of its frames."""

    def __init__(self, amount: float, window: int) -> None:
        self._amount, self._window = amount, window
        self._latest: deque[tuple[float, bool]] = deque()  # cost of frames, and whether it was chosen

    def arrive(self) -> None:
        if len(self._latest) == self._window:
            self._latest.popleft()

    def affords(self, cost: float, key: float, warp: float) -> bool:
        spent = sum(one if by_choice else warp for one, by_choice in self._latest)
        return cost + spent + key - warp <= self._amount * self._window

    def spend(self, cost: float, by_choice: bool) -> None:
        self._latest.append((cost, by_choice))
        self.level = sum(cost for cost, _ in self._latest) / self._window

    def correct(self, expected: float, step: float, whole: float) -> None:
        _, by_choice = self._latest.pop()
        self.spend(whole, by_choice)

    def keyframes(self, key: float, warp: float) -> int:
        return _keyframes(self._amount, self._window, key, warp)


class _Latency(Allowance):
    """Labels of each frame are ready in time, where frames wait for those before them."""

    reserved = 0  # room for one is left on each frame

    def __init__(self, latency: float, period: float, window: int) -> None:
        self._latency, self._period, self._window = latency, period, window
        self._busy = 0.0  # from the arrival of the latest frame until it and those before it are done

    def arrive(self) -> None:
        self.is_idle = self._busy <= self._period
        self._busy = max(0.0, self._busy - self._period)

    def affords(self, cost: float, key: float, warp: float) -> bool:
        done = self._busy + cost
        return done <= self._latency and max(0.0, done - self._period) + key <= self._latency

    def spend(self, cost: float, by_choice: bool) -> None:
        self._busy += cost
        self.level = self._busy

    def correct(self, expected: float, step: float, whole: float) -> None:
        waited = self._busy - expected
        self._busy = waited + whole
        self.level = waited + step

    def keyframes(self, key: float, warp: float) -> int:
        count = _keyframes(self._period, self._window, key, warp)
        fits_twice = max(0.0, key - self._period) + key <= self._latency  # one on the frame after the other
        return count if fits_twice else min(count, 1)


def allowance_of(budget: Budget, window: int, costs: Mapping[str, float]) -> Allowance:
    """Return what a budget allows before the first frame.

    Args:
        budget: of each frame.
        window: frames whose mean is limited, and in which there has to be a keyframe.
        costs: of a "key" and a "warp".

    Raises:
        UserError: the budget is below that of one keyframe in a window, the latency below one keyframe, or its rate
            too high for one keyframe in a window.
    """
    least, key = (costs["key"] + (window - 1) * costs["warp"]) / window, costs["key"]
    if budget.fps is None:
        remedy = Budget(_rounded(least, math.ceil), budget.unit).given
        unit = f"the {budget.unit} per frame of one keyframe in {window} frames of this size"
        check_range(budget.amount >= least, "budget", budget.given, f"{remedy} or more, {unit}")
        return _MeanOfWindow(budget.amount, window)
    remedy = f"{_rounded(key, math.ceil):g}ms or more, the time of a keyframe of this size"
    check_range(budget.amount >= key, "budget", budget.given, remedy)
    rate = _rounded(1000 / least, math.floor)
    remedy = f"{rate:g} frames per second or fewer, which one keyframe in {window} frames of this size leaves time for"
    check_range(budget.mean >= least, "budget", budget.given, remedy)
    return _Latency(budget.amount, budget.mean, window)


def _keyframes(mean: float, window: int, key: float, warp: float) -> int:
    if key <= warp:  # where times are measured
        return window
    return int(min(max(window * (mean - warp) // (key - warp), 0), window))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError
    return value


def _rounded(amount: float, direction: Callable[[float], int]) -> float:
    """Return the next number of three digits, up or down."""
    digits = 10.0 ** (2 - math.floor(math.log10(amount)))
    return direction(amount * digits) / digits


@dataclass
class Spending:
    """Spending under a budget.

    Attributes:
        budget: that is kept.
        window: frames whose mean it limits, and in which there is a keyframe.
        frames: how many were a "key", "nonkey" or "warp".
        total: spent in all, in the budget's unit.
        worst: mean over the most expensive window; of a latency the longest one, where each frame that was given waited
            for those before it.
        exceeded: windows, or latencies, beyond the budget.
    """

    budget: Budget
    window: int
    frames: Counter[str] = field(default_factory=Counter)
    total: float = 0.0
    worst: float = 0.0
    exceeded: int = 0

    def reach(self, level: float) -> None:
        """Take note of the mean over a window, or of a latency."""
        self.worst = max(self.worst, level)
        self.exceeded += level > self.budget.amount * (1 + 1e-9)  # beyond the rounding of sums

    @property
    def mean(self) -> float:
        """Cost of a frame."""
        return self.total / max(1, self.frames.total())

    def gmacs(self, count: Callable[[], Mapping[str, float]]) -> float:
        """Return the mean multiply-adds of a frame, in 10^9; of a budget of time without what choosing ran beside.

        Args:
            count: counts those of each kind of frame, in 10^9, where the budget is one of time.
        """
        if self.budget.unit == "GMACs":
            return self.mean
        costs = count()
        return sum(costs[kind] * count for kind, count in self.frames.items()) / max(1, self.frames.total())

    def as_dict(self) -> dict[str, Any]:
        """Plain Python form."""
        return {
            "budget": self.budget.amount,
            "unit": self.budget.unit,
            **({} if self.budget.fps is None else {"fps": self.budget.fps}),
            "mean": round(self.mean, 4),
            "worst": round(self.worst, 4),
            "exceeded": self.exceeded,
            "window": self.window,
            "frames": dict(sorted(self.frames.items())),
        }


def joined(spendings: Sequence[Spending]) -> Spending:
    """Add up what several videos cost under one budget."""
    frames = sum((one.frames for one in spendings), Counter[str]())
    total, worst = sum(one.total for one in spendings), max(one.worst for one in spendings)
    exceeded = sum(one.exceeded for one in spendings)
    return Spending(spendings[0].budget, spendings[0].window, frames, total, worst, exceeded)
