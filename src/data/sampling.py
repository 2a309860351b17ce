"""Which clip is drawn when, and the seed of its augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from src.data.datasets.files import reject_or_skip
from src.distributed import rank_and_world_size
from src.errors import UserError

SampleIndex = tuple[int, int]  # index of the clip, seed of what is random about it
PADDING: SampleIndex = (0, -1)  # evaluates nothing: fills up the share of a process that got one clip less


def as_sample_index(given: SampleIndex | int) -> SampleIndex:
    """A draw as it is; a bare index, which Lightning's `overfit_batches` puts in its place, with a fixed seed."""
    return (given, 0) if isinstance(given, int) else given


class EpochSampler(Sampler[SampleIndex]):
    """Indices with a seed each, split over processes in equal shares.

    The draws depend on (seed, epoch, position) only: not on the number of workers, nor on whether the run was
    interrupted; and the processes of a job share one order, so that their batches together are those of a single
    process with their joint batch size. Lightning calls `set_epoch`.

    Args:
        length: number of draws.
        shuffle: a new order and new seeds each epoch, for training, where what does not fill all shares is left
            out; else the given order for evaluation, every clip exactly once, with shares filled up by `PADDING`.
        seed: of everything drawn.
        groups: in training, the group of each clip; groups are drawn equally often, whatever their size. None
            draws every clip once; there are `length` of them then.
    """

    def __init__(self, length: int, shuffle: bool, seed: int, groups: NDArray[np.integer[Any]] | None = None) -> None:
        self.length, self.shuffle, self.seed = length, shuffle, seed
        self.groups = None if groups is None else torch.as_tensor(groups)
        self.epoch, self._interrupted = 0, (-1, 0)

    def set_epoch(self, epoch: int) -> None:
        """Make the draws those of an epoch, counted from 0."""
        self.epoch = epoch

    def resume_at(self, epoch: int, skip: int) -> None:
        """Make the draws those of an epoch of which this process has had the first `skip`."""
        self.epoch, self._interrupted = epoch, (epoch, skip)

    def __len__(self) -> int:
        world = rank_and_world_size()[1]
        return self.length // world if self.shuffle else -(-self.length // world)

    def __iter__(self) -> Iterator[SampleIndex]:
        rank, world = rank_and_world_size()
        if not self.shuffle:
            places = range(rank, self.length + -self.length % world, world)
            return ((index, self.seed) if index < self.length else PADDING for index in places)
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = self._order(generator)
        seeds = torch.randint(2**62, (self.length,), generator=generator)
        skip = self._interrupted[1] if self.epoch == self._interrupted[0] else 0
        mine = slice(rank + skip * world, self.length - self.length % world, world)
        return _in_pieces(order[mine], seeds[mine])

    def _order(self, generator: torch.Generator) -> Tensor:
        mixed = torch.randperm(self.length, generator=generator)
        if self.groups is None:
            return mixed
        sorted_names = torch.unique(self.groups).tolist()
        turns = torch.randperm(len(sorted_names), generator=generator).tolist()  # the last may get one draw less
        names = [sorted_names[turn] for turn in turns]
        drawn = []
        for turn, name in enumerate(names):
            members, count = (self.groups == name).nonzero().flatten(), len(range(turn, self.length, len(names)))
            rounds = [torch.randperm(len(members), generator=generator) for _ in range(-(-count // len(members)))]
            drawn.append(members[torch.cat(rounds)[:count]] if rounds else members[:0])
        return torch.cat(drawn)[mixed]


def _in_pieces(order: Tensor, seeds: Tensor, size: int = 1000) -> Iterator[SampleIndex]:
    """Pairs of Python numbers, a few at a time: those of an epoch take many times the memory of the tensors."""
    for start in range(0, len(order), size):
        piece = slice(start, start + size)
        yield from zip(order[piece].tolist(), seeds[piece].tolist(), strict=True)


class PaddedDataset(Dataset[Any]):
    """A data set that also answers `PADDING`: with its first item, changed by `unlabel` so that it does not count."""

    def __init__(self, items: Dataset[Any], unlabel: Callable[[Any], Any]) -> None:
        self.items, self.unlabel = items, unlabel

    def __len__(self) -> int:
        return len(self.items)  # type: ignore[arg-type]

    def __getitem__(self, draw: SampleIndex | int) -> Any:
        return self.unlabel(self.items[0]) if draw == PADDING else self.items[draw]


class SparingDataset(Dataset[Any]):
    """A data set in which the next whole item takes the place of a damaged one.

    Args:
        items: that raise a `UserError` where they are damaged.
        policy: "skip" damaged items, with a warning each, or "stop" at them.
        unlabel: changes what takes a place so that it does not count; None where it may, in training.
    """

    def __init__(self, items: Dataset[Any], policy: str, unlabel: Callable[[Any], Any] | None = None) -> None:
        self.items, self.policy, self.unlabel = items, policy, unlabel
        self._reported: set[int] = set()

    def __len__(self) -> int:
        return len(self.items)  # type: ignore[arg-type]

    def __getitem__(self, draw: SampleIndex | int) -> Any:
        index, seed = as_sample_index(draw)
        for place in [*range(index, len(self)), *range(index)]:
            try:
                item = self.items[place, seed]
            except UserError as error:
                if self.policy != "skip" or place not in self._reported:
                    reject_or_skip(str(error), self.policy)
                self._reported.add(place)
                continue
            return item if place == index or self.unlabel is None else self.unlabel(item)
        raise UserError("no image is left: all are damaged; replace them")
