"""Share the cores of a machine and a joint batch among the processes of a training."""

from __future__ import annotations

import os
import sys
from math import ceil
from pathlib import Path

from src.errors import UserError, check_range

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # of control groups of version 2
MOST_WORKERS = 16  # more take memory without loading faster


def share_of_batch(batch_size: int, processes: int) -> int:
    """Return how many clips of a joint batch each process takes.

    Raises:
        UserError: the batch cannot be divided evenly.
    """
    if batch_size % processes:
        raise UserError(
            f"data.batch_size={batch_size} is the joint batch of all {processes} processes, which share it evenly; "
            f"give a multiple of {processes}, or fewer trainer.devices"
        )
    return batch_size // processes


def check_workers(workers: int | str) -> None:
    """Reject anything but a number of worker processes or "auto".

    Raises:
        UserError: anything else.
    """
    valid = workers == "auto" or (isinstance(workers, int) and workers >= 0)
    check_range(valid, "data.workers", workers, "auto, or 0 or more")


def worker_count(workers: int | str, processes: int = 1) -> int:
    """Return the number of worker processes; "auto" gives each training process its share of the cores.

    Args:
        workers: the configured number, or "auto".
        processes: of the training on this machine.
    """
    if isinstance(workers, int):
        return workers
    if "SLURM_CPUS_PER_TASK" in os.environ:  # of this process already
        cores = int(os.environ["SLURM_CPUS_PER_TASK"])
    else:
        allowed = getattr(os, "sched_getaffinity", None)  # on Linux: what schedulers leave us
        cores = min(len(allowed(0)) if allowed else os.cpu_count() or 1, _quota()) // processes
    return min(max(1, cores), MOST_WORKERS)


def _quota() -> int:
    """Cores whose time a container may use (docker --cpus), rounded up; Python's own counts do not know it."""
    try:
        quota, period = CPU_MAX.read_text().split()
        return ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such limit: "max 100000", or another system
        return sys.maxsize
