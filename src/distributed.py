"""Rank and reductions over the processes of a distributed training; without one, a process is rank 0 of 1."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def rank_and_world_size() -> tuple[int, int]:
    """Return the rank of this process and the number of processes."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def all_reduce_sum(values: Tensor) -> Tensor:
    """Sum element-wise over the processes, without gradient; all of them have to call this."""
    result = values.detach().clone()
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(result)
    return result


def all_gather_cat(values: Tensor) -> Tensor:
    """Concatenate the values (N,) of all processes, without gradient; N is the same everywhere."""
    world_size = rank_and_world_size()[1]
    if world_size == 1:
        return values.detach()
    parts = [torch.empty_like(values) for _ in range(world_size)]
    dist.all_gather(parts, values.detach().contiguous())
    return torch.cat(parts)


def broadcast_from_first(tensors: Iterable[Tensor]) -> None:
    """Give tensors the values that they have in the first process; all processes have to call this."""
    if rank_and_world_size()[1] > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def global_mean(part: Tensor, count: Tensor) -> Tensor:
    """Return this process's term of the mean over the global batch.

    Gradients are averaged over processes, so each term is divided by a process's mean share of the items: a training
    then depends on the global batch only, not on the number of processes that share it.

    Args:
        part: sum over the items of this process.
        count: number of items of all processes together.
    """
    return part / (count.clamp(min=1) / rank_and_world_size()[1])
