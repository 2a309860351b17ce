"""Rank and reductions over the processes of a command; without others, a process is rank 0 of 1."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from src.errors import UserError

T = TypeVar("T")


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


def gather(value: T) -> list[T]:
    """Return what each process gives, plain Python and arrays, in order of rank; all processes have to call this."""
    world_size = rank_and_world_size()[1]
    if world_size == 1:
        return [value]
    values: list[Any] = [None] * world_size
    dist.all_gather_object(values, value)
    return values


def together(action: Callable[[], T]) -> T:
    """Run an action in each process; if it fails in one of them, it fails in all, and none waits for another.

    Raises:
        UserError: in the first process, with the message of the first that failed.
        SystemExit: in others, without a word.
        Exception: of the action, if it is no `UserError` and its own.
    """
    rank, world_size = rank_and_world_size()
    if world_size == 1:
        return action()
    error, message = None, None
    try:
        result = action()
    except Exception as raised:
        error = raised
        known = isinstance(raised, UserError)
        message = str(raised) if known else f"process {rank} of {world_size} failed ({raised}); see its own message"
    messages: list[str | None] = [None] * world_size
    dist.all_gather_object(messages, message)
    failed = next((text for text in messages if text is not None), None)
    if error is not None and (rank == 0 or not isinstance(error, UserError)):
        raise error
    if failed is not None:
        if rank == 0:
            raise UserError(failed)
        sys.exit(0)  # the status of the command is that of the first
    return result


def broadcast_from_first(tensors: Iterable[Tensor]) -> None:
    """Give tensors the values that they have in the first process; all processes have to call this."""
    if rank_and_world_size()[1] > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def from_first(value: T) -> T:
    """Return what the first process gives, plain Python; all processes have to call this."""
    values = [value]
    if rank_and_world_size()[1] > 1:
        dist.broadcast_object_list(values, 0)
    return values[0]


def global_mean(part: Tensor, count: Tensor) -> Tensor:
    """Return this process's term of the mean over the global batch.

    Gradients are averaged over processes, so each term is divided by a process's mean share of the items: a training
    then depends on the global batch only, not on the number of processes that share it.

    Args:
        part: sum over the items of this process.
        count: number of items of all processes together.
    """
    return part / (count.clamp(min=1) / rank_and_world_size()[1])
