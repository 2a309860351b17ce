"""The summary of `src.predict` on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from src.reports.tables import print_table


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print milliseconds by kind of frame, frames per second, and damaged and lost frames.

    Args:
        summary: of `timing.json`.
    """
    decode = {"estimate": "decode + block search", "transcode": "transcode"}.get(summary["motion"], "decode")
    counts = {"key": summary["keyframes"], "nonkey": summary["frames"] - summary["keyframes"]}
    rows = [
        [kind, str(counts[kind]), *(f"{value:.1f}" for value in means.values())]
        for kind, means in summary["mean_milliseconds"].items()
        if means
    ]
    title = f"milliseconds per frame, {summary['width']}x{summary['height']} on {summary['device']}"
    print_table(["", "frames", decode, "motion", "network", "output", "total"], rows, title=title, left=(), width=100)
    print(
        f"{summary['frames_per_second']:.1f} frames/s from file to file, motion: {summary['motion']}, "
        f"damaged frames: {summary['damaged_frames']}, "
        f"lost: {summary['lost_frames']}"
    )
    if "adaptation" in summary:
        found = summary["adaptation"]
        agreed, miou = (
            [f"{100 * found[score][key]:.2f} %" for key in ("start", "used")] for score in ("agreement", "miou")
        )
        print(
            f"adaptation: agreement with the high branch {agreed[0]} before, {agreed[1]} now, mIoU against its labels "
            f"{miou[0]} and {miou[1]} ({found['comparisons']} comparisons); {100 * found['share_adapted']:.0f} % of "
            f"the frames between keyframes labelled by adapted weights, {found['restarts']} restarts, "
            f"{found['seconds']:.1f} s"
        )
    if "live" in summary:
        live = summary["live"]
        latency = ", ".join(f"{rank} {value:.0f} ms" for rank, value in live["latency_milliseconds"].items())
        print(
            f"live: latency {latency or '-'}, dropped frames: {live['dropped_frames']}, "
            f"reconnections: {live['reconnections']}"
        )


def print_summaries(summaries: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a line for each of several videos, by name; see `print_summary`."""
    rows = [
        [
            name,
            str(s["frames"]),
            str(s["keyframes"]),
            f"{s['frames_per_second']:.1f}",
            s["motion"],
            str(s["damaged_frames"]),
        ]
        for name, s in summaries.items()
    ]
    if rows:
        print_table(["video", "frames", "keyframes", "frames/s", "motion", "damaged"], rows, left=(0, 4), width=100)
    print(f"{len(summaries)} videos segmented")
