"""Lets metrics.csv survive interruptions: Lightning's logger begins the file anew each time."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger


def go_on(logger: CSVLogger, step: int) -> None:
    """Begin a logger's file with the rows it had before an optimiser step, counted from 0.

    The rows that are replaced belong to steps after the checkpoint, which are about to be done again.
    """
    current = Path(logger.log_dir) / "metrics.csv"
    aside = current.with_name("metrics.before.csv")  # complete until the new file is
    if current.exists() and not aside.exists():
        os.replace(current, aside)
    if not aside.exists():
        return
    with aside.open(newline="") as file:
        for row in csv.DictReader(file):
            if (at := int(row.pop("step"))) < step:
                logger.log_metrics({key: _number(text) for key, text in row.items() if text}, at)
    logger.save()
    aside.unlink()


def _number(text: str) -> float:
    return int(text) if text.isdigit() else float(text)
