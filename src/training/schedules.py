"""Learning-rate schedules, stepped once per optimiser step."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from src.errors import check_range


def cosine(optimizer: Optimizer, total_steps: int, warmup: float) -> LambdaLR:
    """Linear rise over the first `warmup` (0..1) of the steps, then half a cosine down to zero."""
    rise = _rise(warmup, total_steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total_steps - rise))))

    return LambdaLR(optimizer, factor)


def poly(optimizer: Optimizer, total_steps: int, power: float, warmup: float, start: float) -> LambdaLR:
    """Exponential rise from the factor `start` over the first `warmup` (0..1) of the steps under (1 - t / T)^power.

    At the last step and beyond the factor is zero (the official TDNet code runs on into complex numbers).
    """
    check_range(power > 0, "model.scheduler.power", power, "a number above 0")
    check_range(0 < start <= 1, "model.scheduler.start", start, "a factor above 0, up to 1")
    rise = _rise(warmup, total_steps)

    def factor(step: int) -> float:
        if step < rise:
            return float(start ** (1 - step / rise))
        return float(max(0.0, 1 - step / total_steps) ** power)

    return LambdaLR(optimizer, factor)


def _rise(warmup: float, total_steps: int) -> int:
    check_range(0 <= warmup <= 1, "model.scheduler.warmup", warmup, "a share of the steps from 0 to 1")
    return round(warmup * total_steps)
