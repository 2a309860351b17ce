"""Command `src.train`: train the phases of a composed configuration."""

from __future__ import annotations

import functools
import logging
import sys
from pathlib import Path
from threading import Thread
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf, open_dict

from src.cli.config import plain, usual_config
from src.cli.overrides import check_data_set, check_effect, check_rate
from src.commands.provenance import record_resume, write_provenance
from src.commands.resumption import resumption
from src.errors import UserError
from src.instantiate import instantiate
from src.interruption import noted, raise_received, received
from src.ops.cpu.memory import keep_freed_memory
from src.reports.training import print_summary
from src.training.devices import check_devices, check_sharding, several_processes
from src.training.loggers import silence_warnings
from src.training.phases import run_phases
from src.training.plan import Plan, plan_phases
from src.training.precision import resolved_precision
from src.training.preflight import preflight
from src.training.ranks import ending_together, meet
from src.training.resume import data_digests
from src.training.slurm import SaveAndStop, check_allocation, requeued, watch_time_limit
from src.training.summary import DONE

log = logging.getLogger(__name__)


def train(config: DictConfig) -> float | None:
    """Check the configuration and its phases, write its provenance, and train.

    Nothing in the run directory is changed before all checks have passed.

    Returns:
        The metric that the best checkpoint is chosen by, after the last epoch of the last phase; None where there
        was no validation, and for phases that were finished before.

    Raises:
        UserError: a quality beside a bitrate, devices or a sharding that cannot be used here, a
            sweep over several devices in one process, or a SLURM job of another size.
    """
    silence_warnings()
    keep_freed_memory()
    check_rate(config)
    check_effect(config)
    check_devices(config.trainer, list(HydraConfig.get().overrides.hydra))
    _reject_unsafe_multirun(config)
    check_allocation(config.trainer)
    watch_time_limit()
    check_sharding(config.trainer, config.channels_last)
    if getattr(rank_zero_only, "rank", 0):
        logging.getLogger("src").setLevel(logging.WARNING)  # the first process logs for all
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    complete(config)
    asked = config.trainer.precision
    config.trainer.precision = resolved_precision(asked, config.trainer.accelerator)
    resolved = plain(config)
    hydra = HydraConfig.get()
    sweep_dir = Path(hydra.sweep.dir) if hydra.mode == RunMode.MULTIRUN else None
    unresolved, usual = (OmegaConf.to_container(c) for c in (config, usual_config()))
    plan = plan_phases(resolved, unresolved, usual, run_dir, sweep_dir)  # type: ignore[arg-type]
    preflight(resolved, plan.pending, run_dir, plan.is_resumed)
    meet()
    rank_zero_only(_record)(run_dir, resolved, plan)
    if asked == "auto":
        log.info("precision %s: what this machine is fast in", config.trainer.precision)
    note = functools.partial(resumption, run_dir)
    with requeued(), noted(note):
        try:
            with ending_together(note):
                metrics = run_phases(config, resolved, run_dir, plan)
        finally:
            _close_wandb()
        raise_received()  # during the last epoch; the next trial of a multirun must not start
    for key, value in sorted(metrics.items()):
        log.info("%s = %.4f", key, value)
    rank_zero_only(print_summary)(run_dir, list(config.model.phases))
    return metrics.get(config.model.get("monitor", "val/miou"))


def _record(run_dir: Path, resolved: dict[str, Any], plan: Plan) -> None:
    """Write how a run begins, or append how it continues; what was there before stays as it is."""
    for note in plan.notes:
        log.info(note)
    if plan.is_resumed:
        for name in plan.pending:
            (run_dir / name / DONE).unlink(missing_ok=True)  # of a phase that is to have more epochs
        record_resume(run_dir, resolved, plan.changes)
    else:
        write_provenance(run_dir, resolved, data=data_digests(resolved["data"]))


def complete(config: DictConfig) -> None:
    """Fill in the number of classes of the data set, and leave out phases that have no network to train.

    Raises:
        UserError: a missing value of the data set, or another number of classes was given.
    """
    check_data_set(config)
    missing = sorted(OmegaConf.missing_keys(config.data))
    if missing:
        raise UserError(f"the configuration lacks {', '.join(f'data.{k}' for k in missing)}; give each as KEY=VALUE")
    found = len(instantiate(config.data.source).classes)
    if config.num_classes not in (None, found):
        raise UserError(f"num_classes={config.num_classes}, but the data set has {found} classes; leave it out")
    with open_dict(config):
        config.num_classes = found
        phases = config.model.phases
        for name in [name for name, spec in phases.items() if spec is not None and spec.module.net is None]:
            phases[name] = None
            for spec in phases.values():
                for argument, earlier in (spec.get("needs", {}) if spec is not None else {}).items():
                    if earlier == name:
                        spec.needs[argument] = None


def _close_wandb() -> None:
    """End the run that all phases log to, or the next job of a sweep would log to it."""
    if "wandb" in sys.modules:
        import wandb

        closing = Thread(target=wandb.finish, daemon=True)
        closing.start()
        hurry = SaveAndStop.announced or received() is not None
        closing.join(60 if hurry else None)  # a bad network must not take the time to requeue


def _reject_unsafe_multirun(config: DictConfig) -> None:
    """Reject --multirun on several devices unless SLURM launches the ranks: each would run the sweep on its own."""
    started_by_slurm = HydraConfig.get().launcher._target_.endswith(".SlurmLauncher")
    if HydraConfig.get().mode == RunMode.MULTIRUN and several_processes(config.trainer) and not started_by_slurm:
        raise UserError(
            f"--multirun with trainer.devices={config.trainer.devices} and trainer.num_nodes="
            f"{config.trainer.num_nodes} trains each process with other values; give hydra/launcher=slurm, start one "
            "command for each value, or use a wandb agent"
        )
