"""Learning rates from the first step to beyond the last."""

from __future__ import annotations

import pytest
import torch

from src.training.schedules import poly


def rates(steps: int, total: int, **options: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    schedule = poly(optimizer, total, **options)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_poly_ends_at_zero_and_stays_there() -> None:
    found = rates(13, 10, power=0.9, warmup=0.0, start=1e-3)
    assert found[0] == 2.0
    assert found[5] == pytest.approx(2 * 0.5**0.9)
    assert found[10:] == [0.0] * 3


def test_poly_rises_exponentially_at_first() -> None:
    found = rates(5, 10, power=0.9, warmup=0.3, start=1e-3)
    assert found[:3] == pytest.approx([2e-3, 2e-2, 2e-1])
    assert found[3] == pytest.approx(2 * 0.7**0.9)
