"""Every result below a folder, in one table per kind of run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.files import FAILED, read_json, read_yaml
from src.inference.player_record import RECORD
from src.reports.benchmark import benchmark_table, read_benchmark
from src.reports.evaluation import (
    DIFFERENCES,
    differences_table,
    evaluated,
    is_evaluation,
    read_results,
    results_table,
    seeds_table,
)
from src.reports.sweep import read_trials, sweep_table
from src.reports.tables import TitledTable
from src.reports.training import COLUMNS, phase_cells
from src.training.summary import DONE


@dataclass(frozen=True)
class Found:
    """A result file: the run that it belongs to, below the searched folder, and that run's overrides."""

    path: Path
    run: str
    overrides: dict[str, str]


def collect(folder: Path, score: str, distances: list[int]) -> Iterator[str]:
    """Yield titled Markdown tables; see `collect_tables`."""
    return (table.markdown() for table in collect_tables(folder, score, distances))


def collect_tables(folder: Path, score: str, distances: list[int]) -> Iterator[TitledTable]:
    """Yield tables of the results below a folder: trainings, sweeps, evaluations, benchmarks, failures.

    Args:
        folder: holds run directories at any depth.
        score: that sweeps are compared by, such as val/miou.
        distances: to the keyframe, whose mIoU is shown.

    Raises:
        UserError: there is nothing below the folder.
    """
    tables = [
        *trainings(folder),
        *sweeps(folder, score),
        *_evaluations(folder, distances),
        *benchmark_tables(folder),
        *failed(folder),
    ]
    if not tables:
        names = f"{DONE}, metrics.json, benchmark.json or {FAILED}"
        remedy = "give a run directory, or a folder of them such as logs"
        if find_results(folder, RECORD):
            remedy = f"{RECORD} has no tables: give page=report.html for its video player"
        raise UserError(f"runs={folder} holds no {names}; {remedy}")
    yield from tables


def trainings(folder: Path) -> Iterator[TitledTable]:
    """Yield the table of the finished phases of trainings below a folder, if there are any."""
    found = find_results(folder, DONE)
    if found:
        settings = zip(found, _settings(found), strict=True)
        rows = [[f.run, setting, f.path.parent.name, *phase_cells(f.path)] for f, setting in settings]
        yield TitledTable("Training", ["run", "setting", "phase", *COLUMNS], rows, left=3)


def sweeps(folder: Path, score: str) -> Iterator[TitledTable]:
    """Yield the table of each sweep below a folder, with means over seeds."""
    for path in sorted(folder.rglob("multirun.yaml")):
        sweep = path.parent
        if any(sweep.glob(f"*/*/{DONE}")):
            head, *rows = sweep_table(read_trials(sweep, score))
            yield TitledTable(f"Sweep {_below(sweep, folder)}: {score}", head, rows, left=len(head) - 1)


def _evaluations(folder: Path, distances: list[int]) -> Iterator[TitledTable]:
    found = [f for f in find_results(folder, "metrics.json") if is_evaluation(f.path)]
    if not found:
        return
    results = [read_results(f.path) for f in found]
    shown = evaluated([row for rows in results for row in rows], distances)
    head, lines = ["method"], []
    for f, setting, rows in zip(found, _settings(found), results, strict=True):
        head, cells = results_table(rows, shown)
        lines += [[f.run, setting, *line] for line in cells]
    yield TitledTable("Evaluation: mIoU (%) by distance to the keyframe", ["run", "setting", *head], lines, left=3)
    pairs = [[f.run, *cells] for f, rows in zip(found, results, strict=True) for cells in differences_table(rows)]
    if pairs:
        yield TitledTable("Evaluation: differences of mIoU in points", ["run", *DIFFERENCES], pairs, left=3)
    head, *lines = seeds_table([row for rows in results for row in rows], shown)
    if lines:
        yield TitledTable("Evaluation: mIoU (%), mean ± sample standard deviation over seeds", head, lines, left=4)


def benchmark_tables(folder: Path) -> Iterator[TitledTable]:
    """Yield the table of the benchmarks below a folder, if there are any."""
    found = find_results(folder, "benchmark.json")
    if found:
        head, rows = benchmark_table([read_benchmark(f.path) for f in found])
        named = [[f.run, *row] for f, row in zip(found, rows, strict=True)]
        yield TitledTable("Benchmark: cost per frame", ["run", *head], named, left=2)


def benchmarks(folder: Path) -> list[dict[str, Any]]:
    """Return the results of `src.benchmark` below a folder."""
    return [read_benchmark(f.path) for f in find_results(folder, "benchmark.json")]


def failed(folder: Path) -> Iterator[TitledTable]:
    """Yield the table of the jobs below a folder that failed, if there are any."""
    found = find_results(folder, FAILED)
    if found:
        contents = [read_json(f.path) for f in found]
        rows = [[f.run, " ".join(c["overrides"]), c["error"]] for f, c in zip(found, contents, strict=True)]
        yield TitledTable("Failed", ["run", "overrides", "error"], rows, left=3)


def find_results(folder: Path, name: str) -> list[Found]:
    """Return the files of a name, sorted by path with numbers in their natural order."""
    found = []
    for path in folder.rglob(name):
        run = next((p for p in path.parents if (p / ".hydra").is_dir() or p == folder), path.parent)
        found.append(Found(path, _below(run, folder), _overrides(run)))
    return sorted(found, key=lambda f: [(len(part), part) for part in re.split(r"(\d+)", str(f.path))])


def _below(run: Path, folder: Path) -> str:
    return folder.resolve().name if run == folder else str(run.relative_to(folder))


def _overrides(run: Path) -> dict[str, str]:
    path = run / ".hydra" / "overrides.yaml"
    given = read_yaml(path) if path.exists() else []
    return {key.lstrip("+~"): value for key, _, value in (override.partition("=") for override in given)}


def _settings(found: list[Found]) -> list[str]:
    """Return the overrides of each run that are not the same for all of them."""
    keys = dict.fromkeys(key for f in found for key in f.overrides)
    varied = [key for key in keys if len({f.overrides.get(key) for f in found}) > 1]
    return [" ".join(f"{key}={f.overrides[key]}" for key in varied if key in f.overrides) for f in found]
