"""A metrics.csv that survives interruptions."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger


class MetricRows(CSVLogger):
    """Writes each row at once; what was logged before a checkpoint is on the disk by then."""

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir, name=None, version="", flush_logs_every_n_steps=1)

    def go_on(self, step: int) -> None:
        """Begin with the rows there were before an optimiser step, counted from 0; Lightning begins the file anew.

        The rows left out belong to steps after the checkpoint, which are about to be done again.
        """
        current = Path(self.log_dir) / "metrics.csv"
        aside = current.with_name("metrics.before.csv")  # complete until the new file is
        if current.exists() and not aside.exists():
            os.replace(current, aside)
        if not aside.exists():
            return
        with aside.open(newline="") as file:
            for row in csv.DictReader(file):
                if (at := int(row.pop("step"))) < step:
                    self.log_metrics({key: _number(text) for key, text in row.items() if text}, at)
        self.save()
        aside.unlink()


def _number(text: str) -> float:
    return int(text) if text.isdigit() else float(text)
