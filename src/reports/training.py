"""Results of `src.train`, read from done.json in the folders of its phases."""

from __future__ import annotations

from pathlib import Path

from src.files import read_json
from src.reports.tables import as_cell, print_table
from src.training.summary import DONE

COLUMNS = ("epochs", "steps", "train/loss", "val/miou", "best")


def phase_cells(path: Path) -> list[str]:
    """Return the cells of `COLUMNS` from a `done.json`; a classifier's accuracy stands in the column of the mIoU."""
    outcome = read_json(path)
    outcome.setdefault("val/miou", outcome.get("val/top1"))
    return [as_cell(outcome.get(key), 4) for key in COLUMNS]


def print_summary(run_dir: Path, phases: list[str]) -> None:
    """Print a row per finished phase: epochs, steps, last loss, last and best validation score, checkpoint to use."""
    done = [name for name in phases if (run_dir / name / DONE).exists()]
    rows = [[name, *phase_cells(run_dir / name / DONE), f"{name}/checkpoints/last.ckpt"] for name in done]
    head = ["phase", *COLUMNS, "checkpoint"]
    print_table(head, rows, title=str(run_dir), left=(0, len(head) - 1))
