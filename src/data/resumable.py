"""Data whose training goes on in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L

from src.data.sampling import EpochSampler


class ResumableData(L.LightningDataModule):
    """Keeps in checkpoints where training stands; subclasses draw from `training_sampler`.

    Lightning restores this before it asks for loaders, whose processes fetch ahead at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._start = (0, 0)

    def state_dict(self) -> dict[str, Any]:
        """The epoch to be run or gone on with, and how many of its batches are done."""
        assert self.trainer is not None
        loop = self.trainer.fit_loop
        epoch: Any = loop.epoch_progress.current
        batch = loop.epoch_loop.batch_progress.current
        return {"epoch": epoch.processed, "batches": batch.ready if epoch.started > epoch.processed else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._start = state_dict["epoch"], state_dict["batches"]

    def training_sampler(
        self, length: int, batch_size: int, seed: int, groups: Sequence[int] | None = None
    ) -> EpochSampler:
        """Draws for batches of `batch_size`; in a resumed epoch those that are left."""
        sampler = EpochSampler(length, True, seed, groups)
        epoch, batches = self._start
        sampler.go_on(epoch, batches * batch_size)
        return sampler
