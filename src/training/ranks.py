"""Processes of one command: tasks of SLURM meet within minutes, and the loss of one process ends all, with one line."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from signal import SIGKILL, Signals
from subprocess import Popen, TimeoutExpired
from typing import ClassVar

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.strategies.launchers import subprocess_script
from lightning.pytorch.utilities import rank_zero_only
from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

from src.distributed import rank_and_world_size
from src.errors import Exhausted, UserError

MINUTES, UNSTARTED = 10, 2  # that a task waits for the others; if `srun` has not started it, by SLURM's variables
ONE_PROCESS = "or, to run in one process, `unset SLURM_NTASKS` first"
GRACE = 5  # seconds for a process that is about to end by itself
REPORTED = 2  # exit status of a process that has printed its own line

_meetings: list[TCPStore] = []  # kept open: Lightning's processes meet at the same port


def slurm_tasks() -> int:
    """Return how many processes this command has by SLURM's variables; 1 outside of SLURM."""
    return int(os.environ["SLURM_NTASKS"]) if SLURMEnvironment.detect() else 1


def tasks_per_node() -> int:
    """Return how many of them SLURM starts on each node.

    Raises:
        UserError: it does not say.
    """
    if slurm_tasks() > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise UserError(
            f"the SLURM job has {slurm_tasks()} tasks, but not so many per node; give --ntasks-per-node=N, "
            f"{ONE_PROCESS}"
        )
    return int(os.environ.get("SLURM_NTASKS_PER_NODE", "1"))


def meet() -> None:
    """Wait for the other tasks of a SLURM job, before anything waits for them longer.

    Raises:
        UserError: some do not come within minutes, as `srun` did not start them, or the port is taken.
    """
    if _meetings or not SLURMEnvironment.detect():
        return
    tasks, slurm = slurm_tasks(), SLURMEnvironment()
    remedy = f"start the command with `srun`, {ONE_PROCESS}"
    if absent := [key for key in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID") if key not in os.environ]:
        raise UserError(f"SLURM_NTASKS={tasks} without {absent[0]}, which `srun` sets: this is no task; {remedy}")
    host, port, minutes = slurm.main_address, slurm.main_port, MINUTES if "SLURM_STEP_ID" in os.environ else UNSTARTED
    if tasks == 1:
        return
    try:
        wait = timedelta(minutes=minutes)
        _meetings.append(TCPStore(host, port, tasks, slurm.global_rank() == 0, wait, multi_tenant=True))
    except (RuntimeError, ValueError) as error:
        if "EADDRINUSE" in str(error):
            raise UserError(f"MASTER_PORT={port}, where the SLURM job's tasks meet, is in use; set another") from error
        raise UserError(
            f"SLURM_NTASKS={tasks}, but not all of these tasks came to {host}:{port} within {minutes} minutes; {remedy}"
        ) from error


@contextmanager
def ending_together(note: Callable[[], str]) -> Iterator[None]:
    """End the processes that Lightning starts in the block when this one fails, and this one when one of them does.

    Args:
        note: returns how to continue, for a process that has to be ended while it waits for the lost one.

    Raises:
        Exhausted: in the first process: another one was lost.
        SystemExit: another one was lost; in others, or in the first if the lost one has reported why.
    """
    subprocess_script._ChildProcessObserver = _Observer  # type: ignore[misc, assignment]
    _Observer.note, _Observer.is_ending = note, False
    atexit.register(_end_others)
    try:
        yield
    except BaseException as error:
        _Observer.is_ending = True
        cut_off = isinstance(error, DistError) or "gloo" in str(error)
        lost = _lost(GRACE if cut_off else 0)
        _end_others()
        if not isinstance(error, Exception) or isinstance(error, UserError) or not (lost or cut_off):
            raise
        if rank_zero_only.rank:  # type: ignore[attr-defined]
            sys.exit(0)  # the status of the command is that of the first
        if lost and lost[0] == REPORTED:
            sys.exit(REPORTED)
        raise Exhausted(lost[1] if lost else f"another process was lost ({str(error).splitlines()[0]})") from error


class _Observer(subprocess_script._ChildProcessObserver):
    """Watches the other processes of this machine, in place of Lightning's own, which kills this one without a word."""

    others: ClassVar[list[Popen[bytes]]] = []
    note: ClassVar[Callable[[], str]]
    is_ending: ClassVar[bool] = False

    def __init__(self, main_pid: int, child_processes: list[Popen[bytes]]) -> None:
        super().__init__(main_pid, child_processes, sleep_period=1)
        _Observer.others = child_processes

    def _run(self) -> bool:
        """Return whether nothing is left to watch; end this process where it waits for a lost one."""
        lost = _lost(0)
        if lost is None:
            return all(process.returncode == 0 for process in self.others)
        time.sleep(GRACE)  # gloo raises in the main thread, NCCL waits on
        if not self.is_ending:
            if lost[0] != REPORTED:
                print(f"error: {lost[1]}; {_Observer.note()}", file=sys.stderr, flush=True)
            _end_others()
            for worker in multiprocessing.active_children():
                worker.kill()
            os._exit(REPORTED)
        return True


def _lost(seconds: float) -> tuple[int, str] | None:
    """Return exit status and description of a process that ended badly, if one does within some seconds."""
    end = time.monotonic() + seconds
    while True:
        for number, process in enumerate(_Observer.others, 1):
            if code := process.poll():
                how = f"was killed by {Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
                why = ", perhaps for want of memory" if code == -SIGKILL else ""
                return code, f"rank {rank_and_world_size()[0] + number} (process {process.pid}) {how}{why}"
        if not _Observer.others or time.monotonic() > end:
            return None
        time.sleep(0.1)


def _end_others() -> None:
    for process in _Observer.others:
        with suppress(TimeoutExpired):
            process.wait(GRACE)
        process.kill()
