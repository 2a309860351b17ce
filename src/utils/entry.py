"""How an entry point ends: one line and status 2 for bad input, a traceback for our own defects."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from src.errors import UserError


def reports_errors(task: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Turn a `UserError` of a Hydra task into one line on stderr and exit status 2."""

    @functools.wraps(task)
    def wrapped(config: DictConfig) -> None:
        try:
            task(config)
        except UserError as error:
            # raised in a data loader process, it comes with that process's traceback before it
            end_with(str(error).rsplit("UserError: ", 1)[-1].strip())

    return wrapped


def end_with(message: str) -> NoReturn:
    """One line on stderr and exit status 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


class RunDirectory(Callback):
    """Hydra callback: a run directory that cannot be made or written is one line, not Hydra's traceback."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make `hydra.run.dir` before Hydra does."""
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
