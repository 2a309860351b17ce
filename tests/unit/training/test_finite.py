"""Losses and weights that are not finite are found, and since which step."""

from __future__ import annotations

import torch

from src.training.finite import SCALER_STEPS, LossWatch, all_finite


def test_the_first_step_is_remembered() -> None:
    watch = LossWatch(forgets=False)
    assert watch.failed_at(0) is None
    for step, loss in enumerate([1.0, float("inf"), 2.0, float("nan")]):
        watch.add(torch.tensor(loss), step)
        assert watch.failed_at(step) == (None if step == 0 else 1)


def test_steps_that_a_gradient_scaler_skips_are_no_reason_to_stop() -> None:
    watch = LossWatch(forgets=True)
    for step in range(SCALER_STEPS):
        watch.add(torch.tensor(float("inf")), step)
    assert watch.failed_at(SCALER_STEPS - 1) is None
    assert watch.failed_at(SCALER_STEPS) == 0
    watch.add(torch.tensor(1.0), SCALER_STEPS)
    assert watch.failed_at(SCALER_STEPS) is None


def test_a_step_reads_nothing_from_the_device() -> None:
    """Meta tensors have no values: reading one raises."""
    watch = LossWatch(forgets=True)
    for step in range(3):
        watch.add(torch.empty((), device="meta"), step)


def test_all_finite() -> None:
    assert all_finite([])
    assert all_finite([torch.ones(3), torch.tensor([2**40])])
    assert not all_finite([torch.ones(3), torch.tensor([0.0, float("nan")])])
