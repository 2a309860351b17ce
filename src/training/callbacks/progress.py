"""Progress of a training: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar, RichProgressBar

from src.errors import warns_only
from src.progress import Interval

SECONDS_PER_LINE = 60.0

log = logging.getLogger(__name__)


class LineProgress(ProgressBar):
    """Logs one plain line after each validated epoch and each minute of training."""

    def __init__(self) -> None:
        super().__init__()
        self._start, self._interval, self._enabled = time.monotonic(), Interval(SECONDS_PER_LINE), True

    def disable(self) -> None:
        """Log nothing; Lightning calls this on all ranks but the first."""
        self._enabled = False

    @warns_only
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log epoch and step, at most once a minute."""
        if self._interval.is_due():
            self._log(trainer, f"step {batch_idx + 1}/{trainer.num_training_batches}")

    @warns_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the validation score."""
        shown = [name for name in ("val/miou", "val/top1") if name in trainer.callback_metrics]
        if shown:
            self._log(trainer, f"{shown[0]} {float(trainer.callback_metrics[shown[0]]):.4f}")

    def _log(self, trainer: Trainer, text: str) -> None:
        if not self._enabled:
            return
        self._interval.restart()
        loss = trainer.callback_metrics.get("train/loss")
        shown = f", train/loss {float(loss):.4f}" if loss is not None else ""
        minutes = (time.monotonic() - self._start) / 60
        log.info("epoch %d/%s, %s%s, %.1f min", trainer.current_epoch + 1, trainer.max_epochs, text, shown, minutes)


def progress_bar() -> Callback:
    """Return Rich's bar on a terminal, `LineProgress` elsewhere, where Rich would print nothing until the end."""
    return RichProgressBar() if sys.stdout.isatty() else LineProgress()
