"""Progress on a terminal as a bar, in a log file as plain lines."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar, RichProgressBar

log = logging.getLogger(__name__)


class LineProgress(ProgressBar):
    """One plain line after each validated epoch and each minute of training."""

    def __init__(self) -> None:
        super().__init__()
        self._start, self._spoke = time.monotonic(), time.monotonic()

    def disable(self) -> None:
        """Lightning silences all ranks but the first with this."""
        self._spoke = float("inf")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Say where training is, at most once a minute."""
        if time.monotonic() - self._spoke >= 60:
            self._say(trainer, f"step {batch_idx + 1}/{trainer.num_training_batches}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what validation found."""
        shown = [name for name in ("val/miou", "val/top1") if name in trainer.callback_metrics]
        if self._spoke != float("inf") and shown:
            self._say(trainer, f"{shown[0]} {float(trainer.callback_metrics[shown[0]]):.4f}")

    def _say(self, trainer: Trainer, what: str) -> None:
        self._spoke = time.monotonic()
        loss = trainer.callback_metrics.get("train/loss")
        shown = f", train/loss {float(loss):.4f}" if loss is not None else ""
        elapsed = (time.monotonic() - self._start) / 60
        log.info("epoch %d/%s, %s%s, %.1f min", trainer.current_epoch + 1, trainer.max_epochs, what, shown, elapsed)


def progress_bar() -> Callback:
    """Rich's bar on a terminal, `LineProgress` elsewhere, where Rich would print nothing until the end."""
    return RichProgressBar() if sys.stdout.isatty() else LineProgress()
