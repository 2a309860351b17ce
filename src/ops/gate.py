"""Mixing of two feature maps by CReFF's gate: what it sees of both, and the mixture that it decides on.

On CUDA both are registered operators, each one pass over the maps; elsewhere torch's own operators.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.forms import can_use_triton


def compare(low: Tensor, attended: Tensor, weights: Tensor) -> Tensor:
    """Project the attended features and their distance to the low ones: A attended + D |attended - low|.

    Args:
        low, attended: (B, C, H, W).
        weights: (2, hidden, C), A and D.

    Returns:
        (B, hidden, H, W).
    """
    if can_use_triton(low, attended) and weights.shape[1] <= 16:
        hidden: Tensor = torch.ops.vss.gate_compare(low, attended, weights)
        return hidden
    of_attended, of_distance = (w[:, :, None, None] for w in weights)
    return F.conv2d(attended, of_attended) + F.conv2d((attended - low).abs(), of_distance)


def blend(low: Tensor, attended: Tensor, trust: Tensor) -> Tensor:
    """Interpolate (B, C, H, W) from `low` to `attended` by the trust (B, 1, H, W)."""
    if can_use_triton(low, attended, trust):
        out: Tensor = torch.ops.vss.gate_blend(low, attended, trust)
        return out
    return low + trust * (attended - low)


@torch.library.custom_op("vss::gate_compare", mutates_args=())
def _compare(low: Tensor, attended: Tensor, weights: Tensor) -> Tensor:
    from src.ops.triton import gate  # Triton loads only where it is used

    return gate.compare(low, attended, weights)


@torch.library.custom_op("vss::gate_compare_backward", mutates_args=())
def _compare_backward(
    gradient: Tensor, low: Tensor, attended: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    from src.ops.triton import gate

    return gate.compare_backward(gradient, low, attended, weights)


@torch.library.custom_op("vss::gate_blend", mutates_args=())
def _blend(low: Tensor, attended: Tensor, trust: Tensor) -> Tensor:
    from src.ops.triton import gate

    return gate.blend(low, attended, trust)


@torch.library.custom_op("vss::gate_blend_backward", mutates_args=())
def _blend_backward(gradient: Tensor, low: Tensor, attended: Tensor, trust: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    from src.ops.triton import gate

    return gate.blend_backward(gradient, low, attended, trust)


def _empty(like: Tensor, dtype: torch.dtype, channels: int | None = None) -> Tensor:
    batch, known, height, width = like.shape
    shape = (batch, channels or known, height, width)
    return like.new_empty(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)


@_compare.register_fake
def _(low: Tensor, attended: Tensor, weights: Tensor) -> Tensor:
    return _empty(low, torch.promote_types(low.dtype, attended.dtype), weights.shape[1])


@_blend.register_fake
def _(low: Tensor, attended: Tensor, trust: Tensor) -> Tensor:
    return _empty(low, torch.promote_types(torch.promote_types(low.dtype, attended.dtype), trust.dtype))


@_compare_backward.register_fake
def _(gradient: Tensor, low: Tensor, attended: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _empty(low, low.dtype), _empty(attended, attended.dtype), torch.empty_like(weights)


@_blend_backward.register_fake
def _(gradient: Tensor, low: Tensor, attended: Tensor, trust: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _empty(low, low.dtype), _empty(attended, attended.dtype), torch.empty_like(trust).contiguous()


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


_compare.register_autograd(
    lambda ctx, gradient: torch.ops.vss.gate_compare_backward(gradient, *ctx.saved_tensors), setup_context=_save
)
_blend.register_autograd(
    lambda ctx, gradient: torch.ops.vss.gate_blend_backward(gradient, *ctx.saved_tensors), setup_context=_save
)
