"""How an entry point ends: one line and status 2 for bad input, a traceback for our own defects."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from src.cli.multirun import record_failure
from src.errors import UserError
from src.files import FAILED

Task = Callable[[DictConfig], float | None]


def reports_errors(task: Task) -> Task:
    """Turn a `UserError` of a Hydra task into one line on stderr and exit status 2.

    In a multirun nothing that a job raises ends the jobs after it, see `src.cli.multirun`.
    """

    @functools.wraps(task)
    def wrapped(config: DictConfig) -> float | None:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            return _run_one_of_many(task, config)
        try:
            return task(config)
        except UserError as error:
            end_with(str(_own(error)))

    return wrapped


def _run_one_of_many(task: Task, config: DictConfig) -> float | None:
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    (run_dir / FAILED).unlink(missing_ok=True)  # of an earlier attempt
    try:
        return task(config)
    except Exception as error:
        record_failure(run_dir, list(HydraConfig.get().overrides.task), _own(error))
        return None


def _own(error: Exception) -> Exception:
    """A `UserError` without the traceback of a data loader process that it was raised in."""
    return UserError(str(error).rsplit("UserError: ", 1)[-1].strip()) if isinstance(error, UserError) else error


def end_with(message: str) -> NoReturn:
    """One line on stderr and exit status 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


class RunDirectory(Callback):
    """Hydra callback: a run directory that cannot be made or written is one line, not Hydra's traceback."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make `hydra.run.dir` before Hydra does."""
        HydraConfig.instance().set_config(config)  # the default names the experiment, which Hydra looks up there
        self._make("hydra.run.dir", config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make `hydra.sweep.dir` before Hydra does."""
        self._make("hydra.sweep.dir", config.hydra.sweep.dir)

    def _make(self, key: str, folder: str) -> None:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK)
        except OSError as error:
            end_with(f"{key}={folder} cannot be made ({error.strerror}); give another folder")
        if not writable:
            end_with(f"{key}={folder} cannot be written; give another folder")
