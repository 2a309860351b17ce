"""Activation checkpointing (Chen et al. 2016): memory for time in the training of deep networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


def recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """`block(x)`, whose activations the backward pass computes once more instead of having kept them.

    Gradients and batch norm statistics are those of the plain call.
    """
    result: Tensor = checkpoint(
        block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _keeping_statistics(block))
    )
    return result


@contextmanager
def _keeping_statistics(block: nn.Module) -> Iterator[None]:
    """Batch norms do not count a batch a second time."""
    norms = [module for module in block.modules() if isinstance(module, NORMS)]
    before = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)
