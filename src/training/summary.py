"""Learning curves of a training phase."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

Curve = tuple[list[int], list[float]]


def draw_curves(metrics: Path, picture: Path) -> None:
    """Draw losses, and what validation found by distance, over the optimiser steps.

    Args:
        metrics: the `metrics.csv` of a phase; nothing is drawn where there is none.
        picture: a PNG.
    """
    curves = read_curves(metrics)
    panels = [
        {name: curve for name, curve in curves.items() if name.startswith(starts)}
        for starts in ("train/", ("val/miou", "val/top"))
    ]
    panels = [panel for panel in panels if panel]
    if not panels:
        return
    figure = Figure(figsize=(6 * len(panels), 4), layout="constrained")
    for number, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
        for name, (steps, values) in sorted(panel.items()):
            axes.plot(steps, values, label=name, marker="." if len(steps) < 50 else None)
        axes.set_xlabel("optimiser step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(picture, dpi=120)


def read_curves(metrics: Path) -> dict[str, Curve]:
    """Steps and values of each column of a `metrics.csv`; empty where there is none."""
    curves: dict[str, Curve] = defaultdict(lambda: ([], []))
    if not metrics.exists():
        return {}
    with metrics.open(newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            for name, text in row.items():
                if text:
                    curves[name][0].append(step)
                    curves[name][1].append(float(text))
    return dict(curves)


def last_values(metrics: Path) -> dict[str, float]:
    """The last value of each column but the epoch."""
    return {name: values[-1] for name, (_, values) in read_curves(metrics).items() if name != "epoch"}


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
