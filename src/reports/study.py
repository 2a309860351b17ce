"""The table of a study: each trial beside the figures that its paper publishes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.files import read_yaml
from src.reports.benchmark import read_benchmark
from src.reports.evaluation import read_results
from src.reports.sweep import Trial, failure_of, read_trials, runs_below, setting_of

COMMANDS = ("train", "eval", "benchmark")
MEASURES = {  # of results, published and own: heading and decimals
    "miou": ("mIoU", 2),
    "gmacs": ("GMACs", 2),
    "params": ("M parameters", 2),
    "ms": ("ms", 1),
    "fps": ("FPS", 1),
}
Figures = Mapping[str, Mapping[str, float]]  # measures by name of the result


@dataclass(frozen=True)
class StudyTrial:
    """One setting of a study.

    Attributes:
        name: chosen by `trial=`.
        overrides: of this trial.
        published: figures of the paper by name of the result, which is a phase of a training, a method of an
            evaluation, or "network" of a benchmark; those not known are left out.
    """

    name: str
    overrides: tuple[str, ...]
    published: Figures


@dataclass(frozen=True)
class Study:
    """A table or figure of a paper, as commands.

    Attributes:
        name: chosen by `study=`.
        title: the paper, and its table or figure.
        command: that runs a trial: train, eval or benchmark.
        overrides: of all trials.
        size: (height, width) of the image that multiply-adds are counted for; None: they are not counted.
        trials: in the order of the table.
    """

    name: str
    title: str
    command: str
    overrides: tuple[str, ...]
    size: tuple[int, int] | None
    trials: tuple[StudyTrial, ...]


def read_study(path: Path) -> Study:
    """Read a file of the group `study`.

    Raises:
        UserError: it is not YAML, or lacks a part or has another one.
    """
    return parse_study(path.stem, read_yaml(path))


def parse_study(name: str, content: Any) -> Study:
    """Check the content of such a file.

    Raises:
        UserError: it lacks a part or has another one.
    """
    _check_keys(name, "", content, {"title", "command", "trials"}, {"overrides", "size"})
    if content["command"] not in COMMANDS:
        raise UserError(f"study={name}: command={content['command']} is not one of {', '.join(COMMANDS)}")
    trials = []
    for trial, spec in content["trials"].items():
        _check_keys(name, f"trials.{trial}.", spec, {"published"}, {"overrides"})
        published = {result: dict(figures or {}) for result, figures in spec["published"].items()}
        for result, figures in published.items():
            _check_keys(name, f"trials.{trial}.published.{result}.", figures, set(), set(MEASURES))
        trials.append(StudyTrial(str(trial), tuple(spec.get("overrides") or ()), published))
    size = content.get("size")
    shared = tuple(content.get("overrides") or ())
    place = (int(size[0]), int(size[1])) if size else None
    return Study(name, str(content["title"]), content["command"], shared, place, tuple(trials))


def _check_keys(name: str, place: str, found: Any, needed: set[str], other: set[str]) -> None:
    keys = set(found) if isinstance(found, dict) else set()
    if needed - keys:
        raise UserError(f"study={name} lacks {place}{min(needed - keys)}; give it")
    if keys - needed - other:
        raise UserError(f"study={name}: {place}{min(keys - needed - other)} is none of {', '.join(needed | other)}")


def read_study_runs(study: Study, folder: Path, score: str) -> list[tuple[Trial, Figures]]:
    """Return the runs of a study at any depth below a folder, each with the figures it measured.

    Args:
        study: whose runs are looked for, by `study=` among their overrides.
        folder: holds run directories.
        score: of trainings, such as val/miou.
    """
    if study.command == "train":
        found = [trial for trial in read_trials(folder, score) if trial.setting.get("study") == study.name]
        return [(t, {phase: {"miou": 100 * s} for phase, s in t.scores.items()}) for t in found]
    read = _of_evaluation if study.command == "eval" else _of_benchmark
    runs = []
    for run in runs_below(folder):
        setting = setting_of(run)
        if setting.get("study") == study.name:
            figures = read(run)
            failure = failure_of(run) if figures is None else None
            runs.append((Trial(run.name, run, setting, {}, failure), figures or {}))
    return runs


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
    if "latency" in result:
        figures["ms"] = result["latency"]["milliseconds"]["network"]["amortised"]["median"]
        figures["fps"] = 1000 / figures["ms"]
    return {"network": figures}


def study_table(
    study: Study, runs: Sequence[tuple[Trial, Figures]], counted: Mapping[tuple[str, str], float]
) -> Iterator[list[str]]:
    """Yield a head, then a row for each trial and result, in the order of the study's file.

    A measure has two columns: the mean over complete runs with the sample standard deviation, and the published figure.

    Args:
        study: of the rows.
        runs: of `read_study_runs`.
        counted: multiply-adds of trainings in 10^9, by names of trial and result.
    """
    rows = [(trial, result) for trial in study.trials for result in trial.published]
    measured = {(trial.name, result): _measured(trial.name, result, runs) for trial, result in rows}
    for place, value in counted.items():
        measured[place].setdefault("gmacs", [value])
    always = {} if study.command == "benchmark" else {"miou": 0.0}
    known = [always, *(trial.published[result] for trial, result in rows), *measured.values()]
    shown = [measure for measure in MEASURES if any(measure in figures for figures in known)]
    results = len({result for _, result in rows}) > 1
    heads = [head for measure in shown for head in (MEASURES[measure][0], "published")]
    yield ["trial", *(["result"] if results else []), "runs", *heads]
    for trial, result in rows:
        own = measured[trial.name, result]
        cells = [
            cell
            for measure in shown
            for cell in (
                _mean_and_spread(own.get(measure, []), MEASURES[measure][1]),
                _figure(trial.published[result].get(measure), MEASURES[measure][1]),
            )
        ]
        complete = sum(t.setting.get("trial") == trial.name and t.failure is None for t, _ in runs)
        yield [trial.name, *([result] if results else []), str(complete), *cells]


def _measured(trial: str, result: str, runs: Sequence[tuple[Trial, Figures]]) -> dict[str, list[float]]:
    """Values of all complete runs of a trial, by measure."""
    found: dict[str, list[float]] = {}
    for run, figures in runs:
        if run.setting.get("trial") == trial and run.failure is None:
            for measure, value in figures.get(result, {}).items():
                found.setdefault(measure, []).append(value)
    return found


def _mean_and_spread(values: Sequence[float], digits: int) -> str:
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(set(values)) > 1 else ""
    return f"{_figure(statistics.mean(values), digits)}{spread}" if values else "-"


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
