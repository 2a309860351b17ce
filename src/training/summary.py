"""Learning curves of a training phase, and the name of the file that holds its outcome."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure

DONE = "done.json"  # in the folder of a finished phase: its outcome

Curve = tuple[list[int], list[float]]


def draw_curves(metrics: Path, image: Path) -> None:
    """Draw losses, and validation scores by distance, over the optimiser steps.

    Args:
        metrics: the `metrics.csv` of a phase; nothing is drawn where there is none.
        image: a PNG to write.
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
    figure.savefig(image, dpi=120)


def read_curves(metrics: Path) -> dict[str, Curve]:
    """Return steps and values of each column of a `metrics.csv`; empty where there is none."""
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
    """Return the last value of each column but the epoch."""
    return {name: values[-1] for name, (_, values) in read_curves(metrics).items() if name != "epoch"}
