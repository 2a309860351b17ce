"""The processes of a training that runs on several devices; alone, a process is the first of one."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def place() -> tuple[int, int]:
    """Rank of this process, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def total(values: Tensor) -> Tensor:
    """Element-wise sum over the processes, without gradient; all of them have to call this."""
    result = values.detach().clone()
    if place()[1] > 1:
        dist.all_reduce(result)
    return result


def gathered(values: Tensor) -> Tensor:
    """The values (N,) of all processes one after the other, without gradient; N is the same everywhere."""
    world = place()[1]
    if world == 1:
        return values.detach()
    parts = [torch.empty_like(values) for _ in range(world)]
    dist.all_gather(parts, values.detach().contiguous())
    return torch.cat(parts)


def part_of_mean(part: Tensor, count: Tensor) -> Tensor:
    """The mean of what `count` items of all processes together sum up to, of which this process has `part`.

    Gradients are averaged over processes, so each part is divided by a process's mean share of the items: what a
    training learns then depends on the global batch only, not on how many processes share it.
    """
    return part / (count.clamp(min=1) / place()[1])
