"""The result of `src.export` on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from src.reports.tables import print_table


def print_export(summary: Mapping[str, Any]) -> None:
    """Print differences, equal labels and milliseconds by graph, and mIoU where it was measured.

    Args:
        summary: of `export.json`.
    """
    rows = [
        [
            row["graph"],
            str(row["frames"]),
            f"{row['difference']:.1e}",
            f"{100 * row['equal']:.3f} %",
            f"{row['milliseconds']:.1f}",
            f"{row['own_milliseconds']:.1f}",
        ]
        for row in summary["graphs_compared"]
    ]
    height, width = summary["compared_size"]
    runtime = summary["file_format"]
    head = ["graph", "frames", "largest difference", "equal labels", f"ms in {runtime}", "ms here"]
    sizes = "fixed" if summary["height"] else "any size"
    precision, threads = summary["precision"], summary["threads"]
    title = f"{summary['method']} in {runtime}, {precision}, {height}x{width} ({sizes}), {threads} threads"
    print_table(head, rows, title=title)
    if "miou" in summary:
        own, exported = (100 * summary["miou"][key] for key in ("network", "exported"))
        print(f"mIoU {exported:.2f}, of the network itself {own:.2f}: {exported - own:+.2f}")
