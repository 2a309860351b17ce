"""The table of a study: each trial beside the figures that its paper publishes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.reports.benchmark import read_benchmark
from src.reports.evaluation import is_evaluation, read_results
from src.reports.study import MEASURES, Figures, Study
from src.reports.sweep import Trial, failure_of, read_trial, run_folders, setting_of
from src.reports.tables import mean_and_spread

DEGREE = 3  # of the polynomials through curves
Curve = Sequence[tuple[float, float]]


def read_study_runs(study: Study, folder: Path, score: str) -> list[tuple[Trial, Figures]]:
    """Return the runs of a study at any depth below a folder, each with the figures it measured.

    Args:
        study: whose runs are looked for, by `study=` among their overrides.
        folder: holds run directories.
        score: of trainings, such as val/miou.
    """
    found = [run for run in run_folders(folder, "**") if setting_of(run).get("study") == study.name]
    if study.command == "train":
        evaluated = _evaluated(folder)
        trials = [read_trial(run, score) for run in found]
        return [(trial, _of_training(trial, evaluated)) for trial in trials]
    read = _of_evaluation if study.command == "eval" else _of_benchmark
    runs = []
    for run in found:
        figures = read(run)
        failure = failure_of(run) if figures is None else None
        runs.append((Trial(run.name, run, setting_of(run), {}, failure), figures or {}))
    return runs


def _evaluated(folder: Path) -> dict[Path, float]:
    """Mean IoU in percent by checkpoint, of the evaluations below a folder."""
    files = sorted(path for path in folder.rglob("metrics.json") if is_evaluation(path))
    rows = [row for path in files for row in read_results(path)]  # the row of a network comes after its comparisons
    return {Path(row["checkpoint"]).resolve(): 100 * row["miou"] for row in rows}


def _of_training(trial: Trial, evaluated: Mapping[Path, float]) -> Figures:
    figures = {phase: {"miou": 100 * score} for phase, score in trial.scores.items()}
    for checkpoint, miou in evaluated.items():
        phase = checkpoint.parents[1]
        if phase.parent == trial.folder.resolve() and phase.name in figures:
            figures[phase.name]["evaluated"] = miou
    return figures


def _of_evaluation(run: Path) -> Figures | None:
    path = run / "metrics.json"
    if not path.exists():
        return None
    return {r["method"]: {"miou": 100 * r["miou"], "gmacs": r["gmacs"]["amortised"]} for r in read_results(path)}


def _of_benchmark(run: Path) -> Figures | None:
    path = run / "metrics" / "benchmark.json"
    if not path.exists():
        return None
    result = read_benchmark(path)
    figures = {"gmacs": result["gmacs_amortised"], "params": result["params_inference"] / 1e6}
    figures |= {key: result[key] for key in ("state_mb",) if result.get(key)}
    if "latency" in result:
        figures["ms"] = result["latency"]["milliseconds"]["network"]["amortised"]["median"]
        figures["fps"] = 1000 / figures["ms"]
    return {"network": figures}


def study_table(
    study: Study, runs: Sequence[tuple[Trial, Figures]], counted: Mapping[tuple[str, str], float]
) -> Iterator[list[str]]:
    """Yield a head, then a row for each trial and result, in the order of the study's file.

    A measure has two columns: the mean over complete runs with the sample standard deviation, and the published figure,
    "?" where it is not known.

    Args:
        study: of the rows.
        runs: of `read_study_runs`.
        counted: multiply-adds of trainings in 10^9, by names of trial and result.
    """
    rows = [(trial, result) for trial in study.trials for result in trial.published]
    measured = _all_measured(study, runs, counted)
    always = {} if study.command == "benchmark" else {"miou": 0.0}
    known = [always, *(trial.published[result] for trial, result in rows), *measured.values()]
    shown = [measure for measure in MEASURES if any(measure in figures for figures in known)]
    results = len({result for _, result in rows}) > 1
    heads = [head for measure in shown for head in _pair(measure, MEASURES[measure][0], "published")]
    yield ["trial", *(["result"] if results else []), "runs", *heads]
    for trial, result in rows:
        own, published, cells = measured[trial.name, result], trial.published[result], []
        for measure in shown:
            digits = MEASURES[measure][1]
            theirs = f"{published[measure]:.{digits}f}" if measure in published else "?"
            cells += _pair(measure, mean_and_spread(own.get(measure, []), digits), theirs)
        complete = sum(t.setting.get("trial") == trial.name and t.failure is None for t, _ in runs)
        yield [trial.name, *([result] if results else []), str(complete), *cells]


def curve_lines(
    study: Study, runs: Sequence[tuple[Trial, Figures]], counted: Mapping[tuple[str, str], float]
) -> Iterator[str]:
    """Yield how far apart the two curves of a study are, own and published, where each has four points or more."""
    measured = _all_measured(study, runs, counted)
    own = {place: {key: statistics.mean(v) for key, v in found.items()} for place, found in measured.items()}
    published = {(t.name, result): figures for t in study.trials for result, figures in t.published.items()}
    for title, figures in (("measured", own), ("published", published)):
        curves = [
            [
                (found["gmacs"], found["miou"])
                for (_, name), found in figures.items()
                if name == result and "miou" in found
            ]
            for result in study.curves
        ]
        if curves and min(map(len, curves)) > DEGREE:
            miou, gmacs = mean_differences(*curves)
            across = f"{miou:+.2f} mIoU at the same GMACs" if math.isfinite(miou) else "no GMACs in common"
            along = f"{gmacs:+.1f} % GMACs at the same mIoU" if math.isfinite(gmacs) else "no mIoU in common"
            yield f"{title}, {' against '.join(study.curves)}: {across}, {along}"


def mean_differences(curve: Curve, anchor: Curve) -> tuple[float, float]:
    """Return the mean vertical and horizontal distance of two curves (Bjontegaard 2001, VCEG-M33).

    Args:
        curve: points (GMACs, mIoU), four or more.
        anchor: the same of what it is compared with.

    Returns:
        mIoU at the same GMACs, and GMACs in percent at the same mIoU; means over the range that both cover, of cubics
        fitted over the logarithm of GMACs. NaN where they cover no common range.
    """
    points = [(np.log([x for x, _ in c]), np.array([y for _, y in c])) for c in (curve, anchor)]
    growth = _mean_distance([(miou, cost) for cost, miou in points])
    return _mean_distance(points), 100 * (math.exp(growth) - 1)


def _mean_distance(curves: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> float:
    start, end = max(x.min() for x, _ in curves), min(x.max() for x, _ in curves)
    if start >= end:
        return math.nan
    areas = [np.polyint(np.polyfit(x, y, DEGREE)) for x, y in curves]
    one, other = (np.polyval(area, end) - np.polyval(area, start) for area in areas)
    return float((one - other) / (end - start))


def _all_measured(
    study: Study, runs: Sequence[tuple[Trial, Figures]], counted: Mapping[tuple[str, str], float]
) -> dict[tuple[str, str], dict[str, list[float]]]:
    places = [(trial.name, result) for trial in study.trials for result in trial.published]
    measured = {place: _measured(*place, runs) for place in places}
    for place, value in counted.items():
        measured[place].setdefault("gmacs", [value])
    return measured


def _pair(measure: str, own: str, published: str) -> list[str]:
    return [own] if measure == "evaluated" else [own, published]


def _measured(trial: str, result: str, runs: Sequence[tuple[Trial, Figures]]) -> dict[str, list[float]]:
    """Values of all complete runs of a trial, by measure."""
    found: dict[str, list[float]] = {}
    for run, figures in runs:
        if run.setting.get("trial") == trial and run.failure is None:
            for measure, value in figures.get(result, {}).items():
                found.setdefault(measure, []).append(value)
    return found
