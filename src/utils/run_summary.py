"""The table at the end of a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

DONE = "done.json"  # in the folder of a phase: its outcome
COLUMNS = ("epochs", "steps", "train/loss", "val/miou", "best")


def print_summary(run_dir: Path, phases: list[str]) -> None:
    """One line per phase that is done: epochs, steps, last loss, last and best validation, checkpoint to use."""
    table = Table(title=f"{run_dir}")
    for heading in ("phase", *COLUMNS, "checkpoint"):
        table.add_column(heading, justify="left" if heading in ("phase", "checkpoint") else "right")
    for name in phases:
        if (run_dir / name / DONE).exists():
            outcome = json.loads((run_dir / name / DONE).read_text())
            outcome.setdefault("val/miou", outcome.get("val/top1"))
            table.add_row(name, *(_cell(outcome.get(key)) for key in COLUMNS), f"{name}/checkpoints/last.ckpt")
    Console(width=110).print(table)


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
