"""Runs the training phases of a method in one run directory, each in a folder of its own."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from src.errors import UserError
from src.files import write_json
from src.instantiate import instantiate
from src.models.registry import build
from src.training.callbacks.checkpoint import LastCheckpoint, WholeFileIO, checkpoints_of
from src.training.devices import default_strategy, determinism
from src.training.loggers import ResumableCSVLogger
from src.training.modules.base import TrainingModule
from src.training.networks import metadata_of, network_of
from src.training.plan import Plan, needed_by
from src.training.precision import trainer_precision
from src.training.summary import DONE, draw_curves, last_values
from src.training.sync_batchnorm import SyncBatchNorms

log = logging.getLogger(__name__)


@dataclass
class Phase:
    """One `fit`: what is trained, on what, where its files go, and the checkpoint and step that it resumes from."""

    name: str
    folder: Path
    trainer: L.Trainer
    module: TrainingModule
    data: L.LightningDataModule
    resume: Path | None = None
    step: int = 0


def run_phases(config: DictConfig, resolved: dict[str, Any], run_dir: Path, plan: Plan) -> dict[str, float]:
    """Train the pending phases of `config.model.phases`; the metrics of the last one."""
    metrics: dict[str, float] = {}
    for name in plan.pending:
        phase = build_phase(config, resolved, run_dir, name)
        if name in plan.begun:
            phase.resume, phase.step, damage = plan.begun[name]
            if damage:
                log.warning("phase %s: %s; the checkpoint before it is used", name, damage)
            log.info("phase %s: resuming from %s at step %d", name, phase.resume, phase.step)
        metrics = _fit(phase)
    return metrics


def build_phase(config: DictConfig, resolved: dict[str, Any], run_dir: Path, name: str) -> Phase:
    """Instantiate one phase; nothing is trained."""
    spec = config.model.phases[name]
    folder = run_dir / name
    data = instantiate(config.data.module, **spec.data)
    classes = data.source.classes
    L.seed_everything(config.seed, workers=True, verbose=False)
    network, module_node = network_of(resolved["model"]["phases"][name]["module"], resolved)
    needed = needed_by(name, resolved["model"]["phases"], run_dir)
    module: TrainingModule = instantiate(module_node, net=build(**network), class_names=list(classes.names), **needed)
    module.metadata = metadata_of(resolved, name, network, data.source, _groups())
    if config.channels_last:
        module.to(memory_format=torch.channels_last)  # a teacher too
    if config.compile is not None:
        module.compile_net(config.compile)
    callbacks = [instantiate(c) for c in config.callbacks.values() if c is not None]
    for callback in callbacks:
        if isinstance(callback, (L.pytorch.callbacks.ModelCheckpoint, LastCheckpoint)):
            callback.dirpath = str(checkpoints_of(folder).resolve())  # as of the paths that checkpoints hold
    loggers = [instantiate(c, save_dir=str(folder)) for c in config.logger.values() if c is not None]
    precision = trainer_precision(config.trainer.precision, config.trainer.accelerator)
    plugins = [WholeFileIO(), *precision.pop("plugins", [])]
    if config.trainer.sync_batchnorm:
        plugins.append(SyncBatchNorms())
    # deterministic mode would fill each new tensor first
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    arguments = {
        "strategy": default_strategy(config.trainer, module.graph_changes),
        "deterministic": determinism(config.trainer),
        **spec.trainer,
        **config.limits,
        **precision,
        "plugins": plugins,
    }
    trainer = instantiate(
        config.trainer, callbacks=callbacks, logger=loggers, default_root_dir=str(folder), **arguments
    )
    # Lightning would have processes wait for each other in every step; `SaveAndStop` agrees on signals in logged ones
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
    return Phase(name, folder, trainer, module, data)


def _groups() -> dict[str, str]:
    """The data set's configuration groups and what was chosen in each."""
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    return {str(k): str(v) for k, v in choices.items() if str(k).startswith("data") and v is not None}


def _fit(phase: Phase) -> dict[str, float]:
    trainer = phase.trainer
    log.info("phase %s: files go to %s", phase.name, phase.folder)
    for logger in trainer.loggers:
        if isinstance(logger, ResumableCSVLogger) and phase.resume and trainer.is_global_zero:
            logger.resume_at(phase.step)
    try:
        for logger in trainer.loggers:
            logger.log_hyperparams(phase.module.metadata["config"])
        trainer.fit(phase.module, datamodule=phase.data, ckpt_path=phase.resume, weights_only=True)
    except MisconfigurationException as error:  # such as a metric to monitor that nobody logs
        raise UserError(f"phase {phase.name} cannot be trained: {error}; correct the configuration") from error
    except Exception as error:
        explained = _explained(phase, error)
        if explained is error:
            raise
        raise explained from error
    if not trainer.is_global_zero or trainer.interrupted or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return {}
    metrics = last_values(phase.folder / "metrics.csv")  # an interruption may have come after the last step
    best = getattr(trainer.checkpoint_callback, "best_model_score", None)
    outcome = {"epochs": trainer.current_epoch, "steps": trainer.global_step, **metrics}
    write_json(phase.folder / DONE, outcome if best is None else {**outcome, "best": float(best)})
    draw_curves(phase.folder / "metrics.csv", phase.folder / "curves.png")
    return metrics


def _explained(phase: Phase, error: Exception) -> Exception:
    """Return an error of a library that the configuration causes as a `UserError`, all others as they are."""
    text, step = str(error), phase.trainer.global_step
    if type(error).__module__.startswith("wandb."):  # its server, or the key
        return UserError(f"W&B rejects the run ({text}); run wandb login, or give logger.wandb.offline=true")
    if "Expected more than 1 value per channel" in text:
        return UserError(
            f"phase {phase.name}, step {step}: batch norm has one value per channel to normalise ({text}); give a "
            "higher data.batch_size or a larger data.crop"
        )
    if "returned nan values" in text:  # trainer.detect_anomaly
        return UserError(
            f"phase {phase.name}, step {step}: gradients are not finite ({text}); start in another hydra.run.dir with "
            "a lower model.optimizer.lr"
        )
    return error
