"""Processes of an evaluation: one for each device, started here, by srun or by torchrun."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy

from src.errors import UserError
from src.inference.device import choose_device
from src.interruption import START_AGAIN
from src.training.loggers import silence_warnings
from src.training.ranks import ending_together, meet, slurm_tasks, tasks_per_node

WAIT = timedelta(days=7)  # for a process that prepares clips, or whose videos are the longest


@contextmanager
def processes(name: str, devices: int | str) -> Iterator[torch.device]:
    """Start the other processes of this command, and yield the device of this one.

    They exchange metrics and messages only, on the CPU, which gloo does whatever their devices are.

    Args:
        name: of the device, as of `choose_device`.
        devices: number of processes on this machine, each with a device of that kind; "auto": one for each CUDA
            device, or as many as srun or torchrun started.

    Raises:
        UserError: no such device, or another number of them.
    """
    silence_warnings()
    device, started = choose_device(name), _started()
    number, nodes = started or (_number(device, ":" in name, devices), 1)
    if started and devices not in ("auto", number):
        raise UserError(f"devices={devices}, but {number} processes were started on each node; leave it out")
    if number * nodes == 1:
        yield device
        return
    hydra = HydraConfig.get()
    named = any(given.startswith(("hydra.run.dir=", "hydra.sweep.dir=")) for given in hydra.overrides.hydra)
    if started and not named and not hydra.launcher._target_.endswith(".SlurmLauncher"):
        raise UserError("each of several processes would name its own run directory; give hydra.run.dir=RUN to all")
    for library in ("lightning.fabric", "lightning.pytorch"):  # which reports how many processes there are
        logging.getLogger(library).setLevel(logging.WARNING)
    by_slurm, by_torchrun = slurm_tasks() > 1, TorchElasticEnvironment.detect()
    fabric = Fabric(
        accelerator="cpu",
        devices=number,
        num_nodes=nodes,
        strategy=DDPStrategy(process_group_backend="gloo", timeout=WAIT),
        plugins=[] if by_slurm or by_torchrun else [LightningEnvironment()],
    )
    meet()
    with ending_together(lambda: START_AGAIN):
        fabric.launch()
        if device.type == "cuda":
            device = torch.device("cuda", fabric.local_rank % torch.cuda.device_count())
            torch.cuda.set_device(device)
        yield device
    dist.destroy_process_group()


def _started() -> tuple[int, int] | None:
    """Return the number of processes on each node and of nodes, where something else has started them."""
    if slurm_tasks() > 1:
        return tasks_per_node(), int(os.environ.get("SLURM_NNODES", "1"))
    if "WORLD_SIZE" in os.environ:
        world = int(os.environ["WORLD_SIZE"])
        own = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        return own, world // own
    return None


def _number(device: torch.device, is_one: bool, devices: int | str) -> int:
    """Return the number of processes to start here.

    Args:
        device: the first one.
        is_one: its number was given, as in cuda:1.
        devices: see `processes`.

    Raises:
        UserError: there are not so many devices, or in a multirun, whose jobs share one process.
    """
    most = 1 if is_one or device.type not in ("cuda", "cpu") else None
    if most is None and device.type == "cuda":
        most = torch.cuda.device_count()
    in_multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    if devices == "auto":
        return 1 if in_multirun else most or 1
    if not isinstance(devices, int) or isinstance(devices, bool) or devices < 1 or (most and devices > most):
        known = f"auto, or a number from 1 to {most}" if most else "auto, or a number from 1 up"
        raise UserError(f"devices={devices} is not {known}, with device={device.type}; give one of these")
    if in_multirun and devices > 1:
        raise UserError(
            f"--multirun with devices={devices} evaluates one job after the other in this process; leave devices out, "
            "or start one command for each value"
        )
    return devices
