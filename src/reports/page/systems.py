"""Systems of evaluations: rows of `metrics.json` joined over seeds, named, and with their times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.reports.benchmark import read_benchmark
from src.reports.collect import find_results
from src.reports.evaluation import method_name, over_seeds, row_names
from src.reports.tables import mean_of_known

RUN = "run"  # in a row: that it is from


@dataclass(frozen=True)
class System:
    """A method with weights in an evaluation, or the same with several seeds.

    Attributes:
        name: in tables.
        rows: of `metrics.json`, one for each seed.
        ms: milliseconds per frame and their engine, of a benchmark of the same multiply-adds at the same size.
    """

    name: str
    rows: Sequence[dict[str, Any]]
    ms: tuple[float, str] | None

    def mean(self, key: str) -> float | None:
        """Return the mean over seeds of a number of the rows."""
        return mean_of_known([row.get(key) for row in self.rows])

    def at(self, distance: int) -> float | None:
        """Return the mean over seeds of mIoU 0..1 at a distance; None where there is none."""
        found = [row["miou_by_distance"] for row in self.rows]
        return mean_of_known(scores[distance] for scores in found if distance < len(scores))

    def iou(self, name: str) -> float | None:
        """Return the mean over seeds of the IoU 0..1 of a class."""
        return mean_of_known(row["iou"].get(name) for row in self.rows)

    @property
    def gmacs(self) -> float:
        """Amortised multiply-adds per frame in 10^9."""
        return float(self.rows[0]["gmacs"]["amortised"])


def systems_of(rows: Sequence[dict[str, Any]], timed: Sequence[dict[str, Any]]) -> list[System]:
    """Return the systems of rows in the order of their first ones, each row once.

    Args:
        rows: of evaluations that are compared, each with its `RUN`.
        timed: of `timed_results`.
    """
    seeds = over_seeds(list(rows))
    averaged = {id(row) for group in seeds for row in group}
    members = list(seeds)
    recipes = {(g[0]["training"]["recipe"], g[0]["method"], g[0].get("scale"), g[0].get("budget")) for g in seeds}
    known: set[tuple[str, ...]] = set()
    for row in rows:
        training = row.get("training") or {}
        place = tuple(str(row.get(key)) for key in ("method", "scale", "network", "checkpoint", "miou", "gmacs"))
        same = (training.get("recipe"), row["method"], row.get("scale"), row.get("budget")) in recipes
        if id(row) not in averaged and place not in known and not same:
            members.append([row])
        known.add(place)
    members.sort(key=lambda group: next(n for n, row in enumerate(rows) if row is group[0]))
    first = [group[0] for group in members]
    names = _names(first)
    return [
        System(f"{name} ({len(g)} seeds)" if len(g) > 1 else name, g, _time(g[0], timed))
        for name, g in zip(names, members, strict=True)
    ]


def _names(rows: list[dict[str, Any]]) -> list[str]:
    """Return method and scale of each row, with its run where that tells it apart, else with network and checkpoint."""
    short = [method_name(str(row["method"]), row.get("scale"), row.get("budget")) for row in rows]
    by_run = [f"{name}, {row[RUN]}" for name, row in zip(short, rows, strict=True)]
    return [
        name if short.count(name) == 1 else run if by_run.count(run) == 1 else long
        for name, run, long in zip(short, by_run, row_names(rows), strict=True)
    ]


def timed_results(folder: Path) -> list[dict[str, Any]]:
    """Return the benchmarks below a folder that measured time."""
    results = [read_benchmark(found.path) for found in find_results(folder, "benchmark.json")]
    return [result for result in results if result.get("latency")]


def _time(row: Mapping[str, Any], timed: Sequence[dict[str, Any]]) -> tuple[float, str] | None:
    """Return the fastest time of what has the same multiply-adds at the same size."""
    found = []
    for result in timed:
        if (result["height"], result["width"]) != (row.get("height"), row.get("width")):
            continue
        latency = result["latency"]
        engine = " ".join(str(latency[key]) for key in ("backend", "precision") if key in latency)
        for gmacs, key in (("gmacs_amortised", "milliseconds"), ("gmacs_key", "constant_milliseconds")):
            median = ((latency.get(key) or {}).get("network") or {}).get("amortised") or {}
            same = math.isclose(result[gmacs], row["gmacs"]["amortised"], rel_tol=1e-6)
            if same and median.get("median") is not None:
                found.append((float(median["median"]), engine))
    return min(found, default=None)
