"""Results of `src.benchmark`, read from benchmark.json."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.files import atomic_write, read_json
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
SUFFIXES = (".png", ".svg")
TIMES = ["engine", "constant 1x, ms", "ms amortised", "ms key", "p99", "ms non-key", "p99", "ratio", "peak MB"]
WARPED = ["ms warp", "p99"]
OF_VIDEO = ["video, constant 1x, ms", "video, ms", "video, ratio"]


def read_benchmark(path: Path) -> dict[str, Any]:
    """Return the result in a `benchmark.json`."""
    result: dict[str, Any] = read_json(path)["result"]
    return result


def benchmark_table(results: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows.

    Where any result was timed, columns follow with the medians of the network's time per frame, the 99th percentiles of
    both kinds of frame, and the ratio to the same network at constant full resolution, measured in alternating rounds;
    where any left frames to their motion, the time of those; where any was timed on a video, times with decoding and
    motion beside the network.
    """
    latencies = [result.get("latency") or {} for result in results]
    timed, of_video = any(latencies), any("pipelined" in latency for latency in latencies)
    warped = any("warp" in _of_network(latency) for latency in latencies)
    head = [*COLUMNS.values(), *(TIMES if timed else []), *(WARPED if warped else []), *(OF_VIDEO if of_video else [])]
    rows = [
        [
            *(as_cell(result.get(key)) for key in COLUMNS),
            *(_times(latency) if timed else []),
            *(map(as_cell, _of_kind(latency, "warp")) if warped else []),
            *(_video_times(latency) if of_video else []),
        ]
        for result, latency in zip(results, latencies, strict=True)
    ]
    return head, rows


def _times(latency: dict[str, Any]) -> list[str]:
    constant = latency.get("constant_milliseconds", {}).get("network", {})
    medians = [(times.get("amortised") or {}).get("median") for times in (constant, _of_network(latency))]
    by_kind = [*_of_kind(latency, "key"), *_of_kind(latency, "nonkey")]
    ratio = latency.get("ratio_to_constant", {}).get("network")
    return [_engine(latency), *map(as_cell, (*medians, *by_kind, ratio, latency.get("peak_memory_mb")))]


def _of_network(latency: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = latency.get("milliseconds", {}).get("network", {})
    return found


def _of_kind(latency: dict[str, Any], kind: str) -> list[float | None]:
    """Median and 99th percentile."""
    times = _of_network(latency).get(kind) or {}
    return [times.get("median"), times.get("p99")]


def _video_times(latency: dict[str, Any]) -> list[str]:
    found = latency.get("pipelined", {})
    return [as_cell(found.get(key)) for key in ("constant_milliseconds", "milliseconds", "ratio_to_constant")]


def plot_benchmarks(results: list[dict[str, Any]], path: Path) -> None:
    """Draw multiply-adds against milliseconds per frame of timed results, one mark per engine, into a PNG or SVG file.

    Raises:
        UserError: nothing was timed, or the suffix is that of no image.
    """
    from matplotlib.figure import Figure  # slow to load

    timed = [(r, median) for r in results if (median := _amortised(r.get("latency") or {})) is not None]
    if not timed:
        raise UserError("no result below runs= was timed; run src.benchmark without latency=false")
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"figure={path} has no suffix of an image; end it with {' or '.join(SUFFIXES)}")
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    engines = list(dict.fromkeys(_engine(r["latency"]) for r, _ in timed))
    for engine, mark in zip(engines, itertools.cycle("osD^v<>PX*")):
        shown = [(r, ms) for r, ms in timed if _engine(r["latency"]) == engine]
        axes.scatter([r["gmacs_amortised"] for r, _ in shown], [ms for _, ms in shown], marker=mark, label=engine)
    fastest: dict[tuple[str, float], float] = {}
    for r, ms in timed:
        place = f"{r['model']} {r['width']}x{r['height']}", r["gmacs_amortised"]
        fastest[place] = min(ms, fastest.get(place, ms))
    for (name, gmacs), ms in fastest.items():
        axes.annotate(name, (gmacs, ms), xytext=(4, -9), textcoords="offset points", fontsize="x-small")
    axes.set(xscale="log", yscale="log", xlabel="GMACs per frame, amortised", ylabel="ms per frame, amortised")
    axes.legend(title=", ".join(sorted({r["latency"]["hardware"] for r, _ in timed})))
    axes.grid(visible=True, alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150, format=path.suffix[1:].lower())


def _engine(latency: dict[str, Any]) -> str:
    return " ".join(latency[key] for key in ("backend", "precision") if key in latency)


def _amortised(latency: dict[str, Any]) -> float | None:
    median: float | None = (_of_network(latency).get("amortised") or {}).get("median")
    return median
