"""Studies: tables and figures of papers as trials of a command, read from files of the group `study`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.files import read_yaml

COMMANDS = ("train", "eval", "benchmark")
MEASURES = {  # of results: heading and decimals
    "evaluated": ("mIoU of src.eval", 2),  # of a trained network; the others have a published figure beside them
    "miou": ("mIoU", 2),
    "gmacs": ("GMACs", 2),
    "params": ("M parameters", 2),
    "state_mb": ("state MB", 1),
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
        size: (height, width) of the image that multiply-adds are counted for; None: they are not counted.
        published: figures of the paper by name of the result, which is a phase of a training, a method of an
            evaluation, or "network" of a benchmark; those not known are left out.
    """

    name: str
    overrides: tuple[str, ...]
    size: tuple[int, int] | None
    published: Figures


@dataclass(frozen=True)
class Study:
    """A table or figure of a paper, as commands.

    Attributes:
        name: chosen by `study=`.
        title: the paper, and its table or figure.
        command: that runs a trial: train, eval or benchmark.
        overrides: of all trials.
        trials: in the order of the table.
        curves: two results, the second the anchor, whose mIoU over multiply-adds is compared; or none.
    """

    name: str
    title: str
    command: str
    overrides: tuple[str, ...]
    trials: tuple[StudyTrial, ...]
    curves: tuple[str, ...] = ()


def read_study(path: Path) -> Study:
    """Read a file of the group `study`.

    Raises:
        UserError: it is not YAML, or lacks a part or has another one.
    """
    return parse_study(path.stem, read_yaml(path))


def parse_study(name: str, content: Any) -> Study:
    """Check the content of such a file.

    Raises:
        UserError: it lacks a part, or has another one or one of another kind.
    """
    try:
        return _parsed(name, content)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise UserError(f"study={name} is not built as the files of conf/study are ({error}); follow one") from error


def _parsed(name: str, content: Any) -> Study:
    _check_keys(name, "", content, {"title", "command", "trials"}, {"overrides", "size", "curves"})
    if content["command"] not in COMMANDS:
        raise UserError(f"study={name}: command={content['command']} is not one of {', '.join(COMMANDS)}")
    size = _size(content)
    trials = []
    for trial, spec in content["trials"].items():
        _check_keys(name, f"trials.{trial}.", spec, {"published"}, {"overrides", "size"})
        published = {}
        for result, figures in spec["published"].items():
            published[result] = {measure: float(value) for measure, value in (figures or {}).items()}
            place = f"trials.{trial}.published.{result}."
            _check_keys(name, place, published[result], set(), set(MEASURES) - {"evaluated"})
        trials.append(StudyTrial(str(trial), tuple(spec.get("overrides") or ()), _size(spec) or size, published))
    shared = tuple(content.get("overrides") or ())
    curves = tuple(content.get("curves") or ())
    if len(curves) not in (0, 2):
        raise UserError(f"study={name}: curves={list(curves)} are not two results; give two, the anchor last")
    return Study(name, str(content["title"]), content["command"], shared, tuple(trials), curves)


def _size(node: Mapping[str, Any]) -> tuple[int, int] | None:
    size = node.get("size")
    return (int(size[0]), int(size[1])) if size else None


def _check_keys(name: str, place: str, found: Any, needed: set[str], other: set[str]) -> None:
    keys = set(found) if isinstance(found, dict) else set()
    if needed - keys:
        raise UserError(f"study={name} lacks {place}{min(needed - keys)}; give it")
    if keys - needed - other:
        raise UserError(f"study={name}: {place}{min(keys - needed - other)} is none of {', '.join(needed | other)}")


def wandb_sweep(study: Study) -> dict[str, Any]:
    """Return the content of a W&B sweep file that trains each trial of a study once.

    Raises:
        UserError: the trials are no trainings, which alone log to W&B.
    """
    if study.command != "train":
        raise UserError(f"study={study.name} is one of src.{study.command}, which logs nothing to W&B; use --multirun")
    run_dir = "logs/sweeps/${oc.env:WANDB_SWEEP_ID}/${oc.env:WANDB_RUN_ID}"
    given = ["-m", "src.train", f"study={study.name}", "logger=wandb", f"hydra.run.dir={run_dir}"]
    return {
        "name": study.name,
        "description": study.title,
        "program": "src/train.py",  # for the web page only
        "method": "grid",
        "metric": {"name": "val/miou", "goal": "maximize"},
        "parameters": {"trial": {"values": [trial.name for trial in study.trials]}},
        "command": ["${env}", "${interpreter}", *given, "${args_no_hyphens}"],
    }
