"""End of a training at a signal; inside a SLURM job: check of its allocation, and requeue at the time limit."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_only

from src.errors import UserError
from src.interruption import Interruption, defer_signals, raise_received, received
from src.training.callbacks.checkpoint import LAST
from src.training.devices import TrainerSettings
from src.training.ranks import ONE_PROCESS, tasks_per_node

log = logging.getLogger(__name__)


def check_allocation(trainer: TrainerSettings) -> None:
    """Reject a Trainer that expects other nodes or tasks than `srun` started.

    Raises:
        UserError: with both numbers and where they come from.
    """
    if not SLURMEnvironment.detect():
        return
    tasks, nodes = str(tasks_per_node()), os.environ.get("SLURM_NNODES", "1")
    for key, value, option, given in (
        ("num_nodes", trainer.num_nodes, "nodes", nodes),
        ("devices", trainer.devices, "ntasks-per-node", tasks),
    ):
        if str(value) != given:
            raise UserError(
                f"trainer.{key}={value}, but the SLURM job has --{option}={given}; submit by scripts/slurm_train.sh "
                f"or hydra/launcher=slurm, which set both, {ONE_PROCESS}"
            )


def watch_time_limit() -> None:
    """Handle the signal that announces the time limit from now on, before Lightning does, for `SaveAndStop`."""
    if SLURMEnvironment.detect():
        signal.signal(signal.SIGUSR1, _announce)


def _announce(*_: Any) -> None:
    SaveAndStop.announced = True


class TimeUp(SystemExit):
    """Ends a training whose time limit was announced, after its checkpoint is on the disk."""


@contextmanager
def requeued() -> Iterator[None]:
    """Put the job back into the queue where `TimeUp` leaves the context.

    SLURM then ends all processes of the job, W&B's among them: what they have to finish belongs inside.
    """
    try:
        yield
    except TimeUp:
        defer_signals("the job to be put back")  # SLURM sends SIGTERM to the processes of a job that it puts back
        if not rank_zero_only.rank:  # type: ignore[attr-defined]
            subprocess.run(["scontrol", "requeue", _job()], check=True)
        raise


class SaveAndStop(Checkpoint):
    """At a signal: a checkpoint at the end of the step or the epoch, and then `TimeUp` or `Interruption`.

    SLURM announces the time limit of a job by SIGUSR1. Lightning's own answer saves within the signal handler, in the
    middle of a step and of whatever the processes exchange at that moment; at SIGTERM it stops without saving. Here
    they agree on a step first. The restarted job finds the checkpoint, because its run directory is named by the job.
    As a `Checkpoint` it comes after callbacks that change with the step, such as averages of the weights.
    """

    announced: ClassVar[bool] = False  # of the process, not of a phase: the signal may come between two

    def __init__(self) -> None:
        self.last_step = 0
        self.end: TimeUp | Interruption | None = None  # to be raised, as the step is saved

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log where a resumed run starts; from here on a signal is answered after the step.

        Raises:
            Interruption: a signal was received while the phase before ended.
        """
        raise_received()
        defer_signals("the end of the step or the validation, to save it")
        self.last_step = trainer.global_step
        if self.last_step and trainer.is_global_zero:
            log.info("resuming after step %d", self.last_step)

    def on_train_batch_start(self, *_: Any) -> None:
        """Stop after a step that was saved; by now its metrics are logged.

        Raises:
            TimeUp: there was one, at the time limit.
            Interruption: there was one, at a signal.
        """
        if self.end is not None:
            raise self.end  # the others need not wait for the first: saving ended with a barrier

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within the epoch if the end was announced; several processes agree at each logged step."""
        accumulating, self.last_step = trainer.global_step == self.last_step, trainer.global_step
        every = 1 if trainer.world_size == 1 else trainer.log_every_n_steps  # type: ignore[attr-defined]
        last = batch_idx + 1 == trainer.num_training_batches
        if not accumulating and not last and trainer.global_step % every == 0:
            self._save_if_announced(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save if the end was announced: an epoch that is resumed at its end would not be validated."""
        if trainer.current_epoch + 1 != trainer.max_epochs:
            self._save_if_announced(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave signals to whatever comes after the phase."""
        defer_signals(None)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave signals to whatever ends the run."""
        defer_signals(None)

    def _save_if_announced(self, trainer: L.Trainer) -> None:
        if not trainer.strategy.reduce_boolean_decision(self.announced or received() is not None, all=False):
            return
        path = Path(trainer.default_root_dir) / "checkpoints" / LAST
        trainer.save_checkpoint(path, weights_only=False)
        # the signal may have reached another process only
        self.end = TimeUp(0) if self.announced else Interruption(received() or signal.SIGTERM)
        self.end.add_note(f"step {trainer.global_step} of phase '{Path(trainer.default_root_dir).name}' is saved")
        if trainer.is_global_zero:
            then = "the job goes back into the queue" if self.announced else "the run ends"
            log.info("step %d is in %s, %s", trainer.global_step, path, then)


def _job() -> str:
    """Return the id of this job, or of this element of a job array."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
