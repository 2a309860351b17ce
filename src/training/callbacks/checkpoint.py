"""Checkpoints of a training on disk: written atomically, with one to fall back to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from src.checkpoints.digest import serialise
from src.checkpoints.load import read_content
from src.errors import Exhausted, UserError, check_range
from src.files import atomic_write

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
FOLDER = "{checkpoints}"  # in a file, for the folder that it is in: runs can be moved


class Resumption(NamedTuple):
    """A checkpoint that a phase continues from.

    Attributes:
        path: of the file.
        step: optimiser steps that it is of.
        damage: of the one after it, in words; None where that can be read.
    """

    path: Path
    step: int
    damage: str | None


class WholeFileIO(TorchCheckpointIO):
    """Writes checkpoints atomically and synced to the disk, with digests; `last.ckpt` leaves `previous.ckpt` behind."""

    def __init__(self) -> None:
        super().__init__()
        self._written: set[Path] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint file.

        Raises:
            Exhausted: the disk is full or cannot be written; what was there before remains.
        """
        path = Path(path)
        callbacks = _moved(checkpoint.get("callbacks"), os.path.realpath(path.parent), FOLDER)
        content = serialise({**checkpoint, "callbacks": callbacks})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            keeps = path.name == LAST and path in self._written  # one of an earlier process may be torn
            backup = path.with_name(PREVIOUS) if keeps else None
            with (
                atomic_write(path, unique=False, sync=True, backup=backup) as temporary,
                temporary.open("wb") as file,
            ):
                file.write(content.getbuffer())
        except OSError as error:
            raise Exhausted(
                f"checkpoint '{path}' cannot be written ({error.strerror}); those before it are unharmed: make room "
                "or the folder writable"
            ) from error
        self._written.add(path)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        """Read a checkpoint file on the CPU, its digests checked.

        Raises:
            UserError: it is damaged.
        """
        content = read_content(path)
        folder = os.path.realpath(Path(path).parent)
        return {**content, "callbacks": _moved(content.get("callbacks"), FOLDER, folder)}


def _moved(value: Any, old: str, new: str) -> Any:
    """Copy nested values in which paths, keys too, lead to folder `new` where they led to `old`."""
    if isinstance(value, dict):
        return {_moved(key, old, new): _moved(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [_moved(inner, old, new) for inner in value]
    if isinstance(value, str) and (value == old or value.startswith(old + os.sep)):
        return new + value[len(old) :]
    return value


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt` after each epoch, and within epochs every so many optimiser steps.

    Args:
        every_n_steps: optimiser steps; None for the ends of epochs only.

    Raises:
        UserError: `every_n_steps` is less than 1.
    """

    def __init__(self, every_n_steps: int | None) -> None:
        often = every_n_steps is None or every_n_steps > 0
        check_range(often, "callbacks.last.every_n_steps", every_n_steps, "1 or more, or null for never")
        self.every_n_steps, self.dirpath, self._step = every_n_steps, "", 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count optimiser steps from here."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every `every_n_steps` steps, except at the last batch, after which the epoch is saved."""
        step = trainer.global_step
        stepped, last = step > self._step, batch_idx + 1 == trainer.num_training_batches
        if self.every_n_steps and stepped and not last and step % self.every_n_steps == 0:
            self._save(trainer)
        self._step = step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save at the end of the epoch."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(Path(self.dirpath) / LAST, weights_only=False)  # optimiser and position too


def checkpoints_of(phase: Path) -> Path:
    """Return the folder of the checkpoints of a phase."""
    return phase / "checkpoints"


def begun(folder: Path) -> bool:
    """Return whether a folder holds a checkpoint to resume from."""
    return any((folder / name).exists() for name in (LAST, PREVIOUS))


def newest(folder: Path) -> Resumption:
    """Return the newest readable checkpoint of a folder.

    Raises:
        UserError: none can be read.
    """
    damage: list[str] = []
    for path in (folder / name for name in (LAST, PREVIOUS) if (folder / name).exists()):
        try:
            step = _step(path)
        except UserError as error:
            damage.append(str(error).partition(";")[0])
            continue
        return Resumption(path, step, "; ".join(damage) or None)
    raise UserError(
        f"no readable checkpoint in '{folder}': {'; '.join(damage)}; remove '{folder.parent}' to train this phase "
        "anew, or start in another hydra.run.dir"
    )


def _step(path: Path) -> int:
    step = read_content(path).get("global_step")
    if not isinstance(step, int):
        raise UserError(f"checkpoint '{path}' holds no training to resume (global_step={str(step)[:40]})")
    return step
