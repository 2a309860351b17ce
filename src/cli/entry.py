"""Entry points: conf/NAME.yaml composed, keys checked, bad input answered by one line and exit status 2."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from src.cli.config import check_keys
from src.cli.multirun import record_failure
from src.cli.plugins import with_plugins
from src.cli.renamed import renamed_arguments
from src.errors import UserError
from src.files import FAILED

CONF = Path(__file__).resolve().parents[2] / "conf"

Task = Callable[[DictConfig], float | None] | Callable[[DictConfig], None]


def entry_point(name: str) -> Callable[[Task], Callable[[], None]]:
    """Turn a task into a command that reads its configuration `conf/NAME.yaml` and the command line.

    The path of `conf` is absolute, as a relative one would be looked up among the installed packages where the
    command is a console script. The task runs after `check_keys`, and its errors are reported as by `reports_errors`.
    """

    def command(task: Task) -> Callable[[], None]:
        @functools.wraps(task)
        def checked(config: DictConfig) -> float | None:
            check_keys(config)
            return task(config)

        start = hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(reports_errors(checked))

        @functools.wraps(task)
        def main() -> None:
            if {"--help", "-h"} & set(sys.argv):  # Hydra composes for it, and would insist on what has no default
                sys.argv += [f"~{group}" for group in _mandatory_groups(name)]
            outdated = renamed_arguments(sys.argv[1:])
            if outdated:
                end_with(outdated)
            start()

        return main

    return command


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
        except UserError as error:
            end_with(str(_without_worker_traceback(error)))

    return wrapped


def _run_one_of_many(task: Task, config: DictConfig) -> float | None:
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    (run_dir / FAILED).unlink(missing_ok=True)  # of an earlier attempt
    try:
        return task(config)
    except Exception as error:
        record_failure(run_dir, list(HydraConfig.get().overrides.task), _without_worker_traceback(error))
        return None


def _without_worker_traceback(error: Exception) -> Exception:
    """Strip from a `UserError` the traceback of the data loader process that it was raised in."""
    return UserError(str(error).rsplit("UserError: ", 1)[-1].strip()) if isinstance(error, UserError) else error


def end_with(message: str) -> NoReturn:
    """Print one line on stderr and exit with status 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def exit_on_sigterm() -> None:
    """Leave through `finally` at SIGTERM, as at Ctrl-C, with the shell's exit status 143."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


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
