"""The run directory of a command: it can be written, has room, and belongs to one process at a time."""

from __future__ import annotations

import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, read_write

from src.cli.ending import end_with, is_first_process
from src.locks import lock_folder, unlock_folder

ROOM = 1 << 20  # bytes: of a command's records, without checkpoints


class RunDirectory(Callback):
    """Hydra callback: make and lock the run directory before Hydra writes to it, or end with one line.

    Of the processes of a distributed training the first holds the lock.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make and lock `hydra.run.dir`; two commands that start within one second get two default directories."""
        HydraConfig.instance().set_config(config)  # the default names the experiment, which Hydra looks up there
        given = any(override.startswith("hydra.run.dir=") for override in config.hydra.overrides.hydra)
        folder = str(config.hydra.run.dir)
        owner = self._claim("hydra.run.dir", folder)
        for number in count(2):
            if owner is None or given or {"SLURM_JOB_ID", "WORLD_SIZE"} & os.environ.keys():
                break
            with read_write(config.hydra):
                config.hydra.run.dir = f"{folder}_{number}"
            owner = self._claim("hydra.run.dir", config.hydra.run.dir)
        _reject_second("hydra.run.dir", folder, owner)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make and lock `hydra.sweep.dir`."""
        folder = str(config.hydra.sweep.dir)
        _reject_second("hydra.sweep.dir", folder, self._claim("hydra.sweep.dir", folder))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Lock the directory of a trial, which may run on another machine than the multirun."""
        if config.hydra.mode == RunMode.MULTIRUN:
            folder = config.hydra.runtime.output_dir
            _reject_second("hydra.sweep.dir", folder, self._claim("hydra.sweep.dir", folder))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Unlock the directory of a trial."""
        if config.hydra.mode == RunMode.MULTIRUN:
            unlock_folder(Path(config.hydra.runtime.output_dir))

    def _claim(self, key: str, folder: str) -> str | None:
        """Make and lock a directory; return its owner if that is another process."""
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK)
            written = folder != "."  # that of commands which write elsewhere
            owner = lock_folder(Path(folder)) if writable and written and is_first_process() else None
            room = shutil.disk_usage(folder).free
        except OSError as error:
            end_with(f"{key}={folder} cannot be made ({error.strerror}); give another folder")
        if not writable:
            end_with(f"{key}={folder} cannot be written; give another folder")
        if owner is None and written and room < ROOM:
            end_with(f"{key}={folder}: {room >> 10} kB are free on its disk; make room, or give another folder")
        return owner


def _reject_second(key: str, folder: str, owner: str | None) -> None:
    if owner is not None:
        end_with(f"{key}={folder} is in use by {owner}; wait for its end, or give another folder")
