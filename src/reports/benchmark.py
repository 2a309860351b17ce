"""Results of `src.benchmark`, read from benchmark.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from src.files import read_json
from src.reports.tables import as_cell

COLUMNS = {
    "model": "model",
    "params_train": "params (train)",
    "params_inference": "params (inference)",
    "gmacs_key": "GMACs key",
    "gmacs_nonkey": "non-key",
    "gmacs_amortised": "amortised",
    "height": "height",
    "width": "width",
}


def read_benchmark(path: Path) -> dict[str, Any]:
    """Return the result in a `benchmark.json`."""
    result: dict[str, Any] = read_json(path)["result"]
    return result


def benchmark_table(results: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows; the median time per frame of a long video is a column where any result has one."""
    timed = any("latency" in result for result in results)
    head = [*COLUMNS.values(), *(["ms amortised"] if timed else [])]
    rows = []
    for result in results:
        latency = result.get("latency")
        median = latency["milliseconds"]["network"]["amortised"]["median"] if latency else None
        rows.append([*(as_cell(result.get(key)) for key in COLUMNS), *([as_cell(median)] if timed else [])])
    return head, rows
