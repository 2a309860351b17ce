"""Mean and spread over the trials of a sweep, read from their run directories."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from src.errors import UserError
from src.files import FAILED, read_json, read_yaml
from src.reports.tables import mean_and_spread

REPETITION = ("seed", "ckpt_path")  # overrides that do not change the setting


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        name: of its run directory.
        folder: its run directory.
        setting: its overrides but for the seed, by key.
        scores: by finished training phase, in order.
        failure: why it is not complete; None where it is.
    """

    name: str
    folder: Path
    setting: dict[str, str]
    scores: dict[str, float]
    failure: str | None


def read_trials(folder: Path, score: str) -> list[Trial]:
    """Return the runs in the subfolders of a sweep's directory, whichever way they were started.

    Raises:
        UserError: there are none, or a finished phase does not have the score.
    """
    return [read_trial(run, score) for run in run_folders(folder, "*")]


def run_folders(folder: Path, pattern: str) -> list[Path]:
    """Return the run directories that match a pattern in a folder, those of a multirun in the order of its jobs.

    Raises:
        UserError: there are none.
    """
    runs = [path.parents[1] for path in folder.glob(f"{pattern}/.hydra/overrides.yaml")]
    if not runs:
        raise UserError(f"runs={folder} has no subfolders that are runs; give the hydra.sweep.dir of a multirun")
    numbers = {run: int(run.name) if run.name.isdigit() else len(runs) for run in runs}
    return sorted(runs, key=lambda run: (run.parent, numbers[run], run.name))


def setting_of(run: Path) -> dict[str, str]:
    """Return the overrides of a run but for the seed, by key."""
    overrides = [o.partition("=") for o in read_yaml(run / ".hydra" / "overrides.yaml")]
    return {key.lstrip("+"): value for key, _, value in overrides if key not in REPETITION}


def read_trial(run: Path, score: str) -> Trial:
    """Return the setting and scores of a training.

    Raises:
        UserError: a finished phase does not have the score.
    """
    config = run / "config_resolved.yaml"
    phases = read_yaml(config)["model"]["phases"] if config.exists() else {"training": {}}
    pending = [name for name, spec in phases.items() if spec is not None and not spec.get("given")]
    done = {name: run / name / "done.json" for name in pending}
    scores = {name: _score(path, score) for name, path in done.items() if path.exists()}
    failure = None if len(scores) == len(done) else failure_of(run)
    return Trial(run.name, run, setting_of(run), scores, failure)


def _score(path: Path, score: str) -> float:
    found: dict[str, float | None] = read_json(path)
    if score not in found:
        raise UserError(f"score={score} is not in '{path}'; choose one of {', '.join(found)}")
    value = found[score]
    return math.nan if value is None else value


def failure_of(run: Path) -> str:
    """Return why a run is not complete."""
    path = run / FAILED
    return str(read_json(path)["error"]) if path.exists() else "running, or killed"


def sweep_table(trials: list[Trial]) -> Iterator[list[str]]:
    """Yield a head, then for each setting the overrides that differ, its number of trials, and mean ± spread.

    The spread is the sample standard deviation, over complete trials only.
    """
    settings: dict[tuple[tuple[str, str], ...], list[Trial]] = {}
    for trial in trials:
        settings.setdefault(tuple(trial.setting.items()), []).append(trial)
    varied = _varied(trials)
    phases = list(dict.fromkeys(phase for trial in trials for phase in trial.scores))
    yield [*varied, "trials", *phases]
    for setting, members in settings.items():
        complete = [trial for trial in members if trial.failure is None]
        cells = [mean_and_spread([trial.scores[p] for trial in complete if p in trial.scores], 4) for p in phases]
        yield [*(dict(setting).get(key, "-") for key in varied), str(len(complete)), *cells]


def _varied(trials: list[Trial]) -> list[str]:
    keys = dict.fromkeys(key for trial in trials for key in trial.setting)
    return [key for key in keys if len({trial.setting.get(key) for trial in trials}) > 1]


def failures(trials: list[Trial]) -> list[str]:
    """Return a line for each trial that is not complete."""
    varied = _varied(trials)
    failed = [t for t in trials if t.failure]
    settings = [" ".join(f"{k}={v}" for k, v in t.setting.items() if k in varied) for t in failed]
    return [f"failed: {t.name} ({s}): {t.failure}" for t, s in zip(failed, settings, strict=True)]
