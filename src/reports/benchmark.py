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
TIMES = ["engine", "constant 1x, ms", "ms amortised", "ms key", "ms non-key", "ratio", "peak MB"]


def read_benchmark(path: Path) -> dict[str, Any]:
    """Return the result in a `benchmark.json`."""
    result: dict[str, Any] = read_json(path)["result"]
    return result


def benchmark_table(results: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows.

    Where any result was timed, columns follow with the medians of the network's time per frame, and its ratio to the
    same network at constant full resolution, measured in alternating rounds.
    """
    timed = any("latency" in result for result in results)
    head = [*COLUMNS.values(), *(TIMES if timed else [])]
    rows = [
        [*(as_cell(result.get(key)) for key in COLUMNS), *(_times(result.get("latency") or {}) if timed else [])]
        for result in results
    ]
    return head, rows


def _times(latency: dict[str, Any]) -> list[str]:
    own = latency.get("milliseconds", {}).get("network", {})
    constant = latency.get("constant_milliseconds", {}).get("network", {})
    shown = [(constant, "amortised"), (own, "amortised"), (own, "key"), (own, "nonkey")]
    medians = [(times.get(kind) or {}).get("median") for times, kind in shown]
    engine = " ".join(latency[key] for key in ("backend", "precision") if key in latency)
    ratio = latency.get("ratio_to_constant", {}).get("network")
    return [engine, *map(as_cell, medians), as_cell(ratio), as_cell(latency.get("peak_memory_mb"))]
