"""A limit on what frames cost, and what was spent of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from src.errors import UserError, check_range

Unit = Literal["GMACs", "ms"]


@dataclass(frozen=True)
class Budget:
    """A limit on the mean cost of a frame.

    Attributes:
        amount: in the unit.
        unit: 10^9 multiply-adds, or milliseconds of the network on the running machine.
    """

    amount: float
    unit: Unit = "GMACs"

    @classmethod
    def of(cls, given: object) -> Budget:
        """Return the budget that a configuration gives: a number of GMACs, or a text such as "20ms".

        Raises:
            UserError: anything else, or none above 0.
        """
        unit: Unit = "GMACs"
        text = str(given).strip()
        if isinstance(given, str) and text.endswith("ms"):
            text, unit = text.removesuffix("ms"), "ms"
        try:
            amount = math.nan if isinstance(given, bool) else float(text)
        except ValueError:
            amount = math.nan
        rule = "GMACs per frame above 0, such as 2, or milliseconds, such as 20ms"
        check_range(0 < amount < math.inf, "budget", given, rule)
        return cls(amount, unit)

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
        return f"{self.amount:g}" + ("ms" if self.unit == "ms" else "")


@dataclass
class Spending:
    """Spending under a budget.

    Attributes:
        budget: of a frame in the mean.
        window: frames that keep it.
        frames: how many were a "key", "nonkey" or "warp".
        total: spent in all, in the budget's unit.
        worst: mean over the most expensive window.
    """

    budget: Budget
    window: int
    frames: Counter[str] = field(default_factory=Counter)
    total: float = 0.0
    worst: float = 0.0

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
            "mean": round(self.mean, 4),
            "worst": round(self.worst, 4),
            "window": self.window,
            "frames": dict(sorted(self.frames.items())),
        }


def joined(spendings: Sequence[Spending]) -> Spending:
    """Add up what several videos cost under one budget."""
    frames = sum((one.frames for one in spendings), Counter[str]())
    total, worst = sum(one.total for one in spendings), max(one.worst for one in spendings)
    return Spending(spendings[0].budget, spendings[0].window, frames, total, worst)
