"""Which clip is drawn when, and the seed of its augmentation."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch.utils.data import Sampler

Draw = tuple[int, int]  # index of the clip, seed of what is random about it


def as_draw(given: Draw | int) -> Draw:
    """A draw as it is; a bare index, which Lightning's `overfit_batches` puts in its place, with a fixed seed."""
    return (given, 0) if isinstance(given, int) else given


class EpochSampler(Sampler[Draw]):
    """Indices with a seed each, split over processes.

    The draws depend on (seed, epoch, position) only: not on the number of workers, nor on whether the run was
    interrupted; and the processes of a job share one order. Lightning calls `set_epoch`.

    Args:
        length: number of clips.
        shuffle: a new order and new seeds each epoch and equal shares for all processes, for training; else the
            given order, every clip exactly once, for evaluation.
        seed: of everything drawn.
    """

    def __init__(self, length: int, shuffle: bool, seed: int) -> None:
        self.length, self.shuffle, self.seed, self.epoch = length, shuffle, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Make the draws those of an epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        rank, world = _process()
        return self.length // world if self.shuffle else len(range(rank, self.length, world))

    def __iter__(self) -> Iterator[Draw]:
        rank, world = _process()
        if not self.shuffle:
            return ((index, self.seed) for index in range(rank, self.length, world))
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(self.length, generator=generator).tolist()
        seeds = torch.randint(2**62, (self.length,), generator=generator).tolist()
        mine = slice(rank, self.length - self.length % world, world)
        return iter(list(zip(order, seeds, strict=True))[mine])


def _process() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
