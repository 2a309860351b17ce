"""Checks of devices and strategy, and the defaults that depend on them."""

from __future__ import annotations

import os
import re
from typing import Any, Protocol

import torch
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy
from torch.distributed.fsdp import MixedPrecision

from src.errors import UserError, check_range


class TrainerSettings(Protocol):
    """The arguments of `lightning.Trainer` that say where a training runs."""

    accelerator: str
    devices: Any
    num_nodes: int
    strategy: Any
    sync_batchnorm: bool
    accumulate_grad_batches: int
    deterministic: Any


def several_processes(trainer: TrainerSettings) -> bool:
    """Return whether the Trainer runs one process for each of several devices."""
    return process_count(trainer.accelerator, trainer.devices, trainer.num_nodes) > 1


def process_count(accelerator: str = "auto", devices: Any = "auto", num_nodes: int = 1) -> int:
    """Return how many processes a Trainer with these arguments runs, one for each device of each node."""
    if isinstance(devices, str) and "," in devices:
        devices = devices.split(",")
    if str(devices) in ("auto", "-1", "None"):
        own = 1 if on_cpu(accelerator) else torch.cuda.device_count()
    else:
        own = int(devices) if isinstance(devices, (int, float, str)) else len(devices)
    return max(1, own) * (num_nodes or 1)


def on_cpu(accelerator: str) -> bool:
    """Return whether a Trainer with this accelerator runs on the CPU here."""
    return accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())


def default_strategy(trainer: TrainerSettings, graph_changes: bool) -> Any:
    """Return DDP that exchanges gradients only, or FSDP in fp32 under autocast; other strategies as they are.

    DDP learns in the first step which parameters get no gradient, and searches for them in every step only where
    that changes. Batch norm statistics are not sent at every step: `TrainingModule` shares them before validation.
    FSDP's own low precision would keep batch norm statistics in bf16, where small increments are lost.

    Args:
        trainer: its configuration.
        graph_changes: other parameters get a gradient in some steps than in others.
    """
    if trainer.strategy in ("fsdp", "fsdp_cpu_offload"):
        return FSDPStrategy(cpu_offload=trainer.strategy != "fsdp", mixed_precision=MixedPrecision())
    if trainer.strategy not in ("auto", "ddp") or not several_processes(trainer):
        return trainer.strategy
    search = graph_changes or trainer.accumulate_grad_batches > 1  # steps without exchange count as other graphs
    return DDPStrategy(
        find_unused_parameters=search,
        static_graph=not search,
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
    )


def determinism(trainer: TrainerSettings) -> Any:
    """Return the Trainer's `deterministic`: "auto" is "warn" on the CPU, which repeats runs bit for bit, else false.

    On CUDA it would replace each bilinear resize by many small operators, two to three times the time of a step, and
    losses of label maps and pyramid pooling would vary all the same.
    """
    if trainer.deterministic != "auto":
        return trainer.deterministic
    return "warn" if on_cpu(trainer.accelerator) else False


def check_sharding(trainer: TrainerSettings, channels_last: bool) -> None:
    """Reject FSDP of weights in channels-last format: torch gathers optimiser states in another order of elements.

    Raises:
        UserError: both are asked for.
    """
    if _is_sharded(trainer) and channels_last:
        raise UserError(
            f"trainer.strategy={trainer.strategy} with channels_last=true resumes with wrong momentum after an "
            "interruption; give channels_last=false"
        )


def check_devices(trainer: TrainerSettings, overrides: list[str]) -> None:
    """Reject devices and strategies that cannot run here.

    Args:
        trainer: its configuration.
        overrides: of Hydra's own configuration, as given on the command line.

    Raises:
        UserError: devices of no known form, synchronised batch norms or sharding on CPUs, or torchrun without a
            common run directory.
    """
    known = not isinstance(trainer.devices, str) or re.fullmatch(r"auto|-?\d+(,\d+)*", trainer.devices)
    check_range(bool(known), "trainer.devices", trainer.devices, "a number, a list of numbers, or auto")
    if on_cpu(trainer.accelerator) and trainer.sync_batchnorm:
        raise UserError(
            "trainer.sync_batchnorm=true runs on GPUs only, and this training is on the CPU; leave it false: each "
            "process then normalises by its own batch"
        )
    if on_cpu(trainer.accelerator) and _is_sharded(trainer):
        raise UserError(
            f"trainer.strategy={trainer.strategy} runs on GPUs only, and this training is on the CPU; "
            "give trainer.strategy=auto"
        )
    if "TORCHELASTIC_RUN_ID" in os.environ and not any(o.startswith("hydra.run.dir=") for o in overrides):
        raise UserError("under torchrun each process would name its own run directory; give hydra.run.dir=RUN to all")


def _is_sharded(trainer: TrainerSettings) -> bool:
    return "fsdp" in str(trainer.strategy).lower()
