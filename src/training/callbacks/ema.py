"""Exponential moving average of the weights."""

from __future__ import annotations

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import FSDPStrategy
from torch.optim.swa_utils import get_ema_multi_avg_fn

from src.errors import UserError, check_range


class ExponentialMovingAverage(WeightAveraging):
    """Averages weights and batch norm statistics after each optimiser step.

    The average is what is validated, what checkpoints hold as the network, and what later phases start from.
    Weights that are frozen stay the same to the last bit, unlike in Lightning's own EMA callback.

    Args:
        decay: of the weights averaged so far, per step, in [0, 1).

    Raises:
        UserError: another `decay`.
    """

    def __init__(self, decay: float) -> None:
        check_range(0 <= decay < 1, "callbacks.ema.decay", decay, "a number from 0 to below 1, such as 0.999")
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]

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
