"""What `src.train` does with a composed configuration."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from src.errors import UserError
from src.utils.config import check_keys, check_rate, plain
from src.utils.memory import keep_freed_memory
from src.utils.phases import run_phases, several_processes
from src.utils.provenance import write_provenance
from src.utils.quiet import quiet

log = logging.getLogger(__name__)


def train(config: DictConfig) -> None:
    """Check the configuration, write what the run is, and train.

    Raises:
        UserError: unknown keys, a quality beside a bitrate, or a sweep over several devices in one process.
    """
    quiet()
    keep_freed_memory()
    check_keys(config)
    check_rate(config)
    _refuse_unsafe_multirun(config)
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    resolved = plain(config)
    rank_zero_only(write_provenance)(run_dir, resolved)
    try:
        metrics = run_phases(config, resolved, run_dir)
    finally:
        _close_wandb()
    for key, value in sorted(metrics.items()):
        log.info("%s = %.4f", key, value)
    log.info("run directory: %s", run_dir)


def _close_wandb() -> None:
    """End the run that all phases log to, or the next job of a sweep would go on with it."""
    if "wandb" in sys.modules:
        import wandb

        wandb.finish()


def _refuse_unsafe_multirun(config: DictConfig) -> None:
    """Lightning re-executes the command for each device, which would start the sweep again in each of them."""
    basic = "basic_launcher" in HydraConfig.get().launcher._target_
    if HydraConfig.get().mode == RunMode.MULTIRUN and several_processes(config.trainer) and basic:
        raise UserError(
            f"--multirun with trainer.devices={config.trainer.devices} trains each process with other values; "
            "submit one job for each value, or use a wandb agent"
        )
