"""Hydra's part of a command: conf/NAME.yaml composed, keys checked, bad input answered by one line and status 2."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from src.cli.config import check_keys
from src.cli.ending import end_with
from src.cli.multirun import record_failure
from src.cli.plugins import with_plugins
from src.cli.renamed import renamed_arguments
from src.cli.resources import exhausted, is_disk_full
from src.errors import Exhausted, UserError, with_notes
from src.files import FAILED
from src.interruption import raise_received

CONF = Path(__file__).resolve().parents[2] / "conf"

Task = Callable[[DictConfig], float | None] | Callable[[DictConfig], None]


def run(name: str, task: Task) -> None:
    """Run a task with the configuration `conf/NAME.yaml` and the command line.

    The path of `conf` is absolute, as a relative one would be looked up among the installed packages where the
    command is a console script. The task runs after `check_keys`, and its errors are reported as by `reports_errors`.
    """

    @functools.wraps(task)
    def checked(config: DictConfig) -> float | None:
        check_keys(config)
        return task(config)

    if {"--help", "-h"} & set(sys.argv):  # Hydra composes for it, and would insist on what has no default
        sys.argv += [f"~{group}" for group in _mandatory_groups(name)]
    outdated = renamed_arguments(sys.argv[1:])
    if outdated:
        end_with(outdated)
    logging.raiseExceptions = False  # a log on a full disk would print a traceback for each line
    hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(reports_errors(checked))()


def _mandatory_groups(name: str) -> list[str]:
    """Return the groups of a configuration that have to be chosen and that the command line does not choose."""
    defaults = yaml.safe_load((CONF / f"{name}.yaml").read_text()).get("defaults", [])
    groups = [group for entry in defaults if isinstance(entry, dict) for group in entry if entry[group] == "???"]
    return [group for group in groups if not any(argument.startswith(f"{group}=") for argument in sys.argv)]


def reports_errors(task: Task) -> Callable[[DictConfig], float | None]:
    """Turn a `UserError` of a Hydra task into one line on stderr and exit status 2.

    In a multirun nothing that a job raises ends the jobs after it, see `src.cli.multirun`.
    """

    task = with_plugins(task)

    @functools.wraps(task)
    def wrapped(config: DictConfig) -> float | None:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            return _run_one_of_many(task, config)
        try:
            return task(config)
        except Exception as error:
            end_with(with_notes(_answer_to(error, config)))

    return wrapped


def _run_one_of_many(task: Task, config: DictConfig) -> float | None:
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    (run_dir / FAILED).unlink(missing_ok=True)  # of an earlier attempt
    try:
        return task(config)
    except Exception as error:
        try:
            answer: Exception = _answer_to(error, config)
        except Exception:
            answer = error
        if is_disk_full(error):  # for the next jobs, too
            end_with(with_notes(answer))
        record_failure(run_dir, list(HydraConfig.get().overrides.task), answer)
        return None


def _answer_to(error: Exception, config: DictConfig) -> UserError:
    """Return the `UserError` that an exception of a task is or, where the machine gave out, amounts to.

    A `UserError` from a data loader process comes with the traceback of that process, which is left out.

    Raises:
        Exception: the given one, if it is a defect of this project.
        Interruption: a signal was received, and the exception is a consequence.
    """
    raise_received()
    if isinstance(error, Exhausted):
        return error
    own = str(error).rsplit("UserError: ", 1)[-1].strip()
    answer = UserError(own) if isinstance(error, UserError) else exhausted(error, "data" in config)
    if answer is None:
        raise error
    for note in getattr(error, "__notes__", []):
        answer.add_note(note)
    return answer
