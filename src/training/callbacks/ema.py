"""Exponential moving average of the weights."""

from __future__ import annotations

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor

from src.errors import UserError, check_range


class ExponentialMovingAverage(WeightAveraging):
    """Averages weights and batch norm statistics after each optimiser step.

    The average is what is validated, what checkpoints hold as the network, and what later phases start from.
    It lives on the device of the training. Frozen networks, teachers among them, are shared with it and cost nothing.

    Args:
        decay: of the weights averaged so far, per step, in [0, 1).

    Raises:
        UserError: another `decay`.
    """

    def __init__(self, decay: float) -> None:
        check_range(0 <= decay < 1, "callbacks.ema.decay", decay, "a number from 0 to below 1, such as 0.999")
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the weights.

        Raises:
            UserError: each process is about to hold a part of them only.
        """
        if isinstance(trainer.strategy, FSDPStrategy):
            raise UserError(
                "callbacks=ema averages whole weights, and trainer.strategy=fsdp leaves each process a part of them; "
                "give callbacks=default or trainer.strategy=auto"
            )
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the average to the module's device, which Lightning copies it before, and share what is frozen."""
        assert self._average_model is not None
        average = self._average_model.module.to(pl_module.device)  # its count of steps stays: reading it must not wait
        for mine, theirs in zip(average.modules(), pl_module.modules(), strict=True):
            frozen = not theirs.training and not any(p.requires_grad for p in theirs.parameters())
            for name, parameter in theirs.named_parameters(recurse=False):
                if not parameter.requires_grad:
                    mine.get_parameter(name).data = parameter.data
            for name, buffer in theirs.named_buffers(recurse=False) if frozen else ():
                mine.get_buffer(name).data = buffer.data

    def _average(self, averages: list[Tensor], currents: list[Tensor], _: Tensor) -> None:
        """Move averages of one type towards current values; counts, such as batch norms', are taken over."""
        pairs = [(a, c) for a, c in zip(averages, currents, strict=True) if a.data_ptr() != c.data_ptr()]
        if not pairs:
            return
        targets, values = map(list, zip(*pairs, strict=True))
        if targets[0].is_floating_point():
            torch._foreach_lerp_(targets, values, 1 - self.decay)
        else:
            torch._foreach_copy_(targets, values)
