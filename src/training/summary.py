"""Learning curves of a training phase, and the name of the file that holds its outcome."""

from __future__ import annotations

import csv
import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from src.errors import warns_only

DONE = "done.json"  # in the folder of a finished phase: its outcome

Curve = tuple[list[int], list[float]]

log = logging.getLogger(__name__)


def read_rows(metrics: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield optimiser step and values of each row of a `metrics.csv`; damaged rows are left out with a warning."""
    if not metrics.exists():
        return
    lines = metrics.read_text(errors="replace").splitlines()
    head, damaged = _cells("".join(lines[:1]).replace("\0", "")), 0
    for line in lines[1:]:
        cells = _cells(line.replace("\0", "?"))  # "?" is no number
        row = dict(zip(head, cells, strict=False))
        try:
            if len(cells) != len(head):
                raise ValueError
            yield int(row.pop("step")), {name: _number(text) for name, text in row.items() if text}
        except (ValueError, KeyError):
            damaged += 1
    if damaged:
        log.warning("%d damaged rows of '%s' are left out", damaged, metrics)


def _cells(line: str) -> list[str]:
    """Split a row by itself, so that a damaged one leaves those after it alone."""
    try:
        return next(csv.reader([line]), [])
    except csv.Error:  # a field longer than this parser allows
        return []


def _number(text: str) -> float:
    return int(text) if text.isdigit() else float(text)


@warns_only
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
    for step, row in read_rows(metrics):
        for name, value in row.items():
            curves[name][0].append(step)
            curves[name][1].append(value)
    return dict(curves)


def last_values(metrics: Path) -> dict[str, float]:
    """Return the last value of each column but the epoch."""
    return {name: values[-1] for name, (_, values) in read_curves(metrics).items() if name != "epoch"}
