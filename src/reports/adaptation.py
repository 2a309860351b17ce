"""The scores of `src.adapt` on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from src.reports.tables import print_table


def print_scores(found: Mapping[str, Any]) -> None:
    """Print agreement with the high branch and mIoU against its labels, before and after, by distance.

    Args:
        found: content of `adaptation.json`.
    """
    for part, title in (("held_out", "other frames"), ("all", "all frames")):
        scores = found[part]
        if scores is None:
            continue
        before, after = scores["before"], scores["after"]
        rows = [["all", *_cells(before, after)]]
        rows += [[d, *_cells(row, after["by_distance"][d])] for d, row in before["by_distance"].items()]
        head = ["distance", "agreement %", "adapted", "mIoU %", "adapted"]
        print_table(head, rows, title=f"against the high branch, {title} ({scores['frames']})", width=100)
    if not found["adapted"]:
        print("adaptation did not help: adapted.ckpt holds the weights of the checkpoint")


def _cells(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [f"{100 * row[key]:.2f}" for key in ("agreement", "miou") for row in (before, after)]
