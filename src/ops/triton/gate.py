"""Run the Triton kernels of CReFF's gate on torch tensors."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from src.ops.triton import gate_kernel as kernel

PIXELS, BLOCK = 64, 64
ROWS = 16  # of a matrix product at least; the gate has 8
PROGRAMS = 512  # that share the sums over pixels


def compare(low: Tensor, attended: Tensor, weights: Tensor) -> Tensor:
    """Compute `src.ops.gate.compare`."""
    low, attended = _last(low), _last(attended)
    batch, _, height, width = low.shape
    dtype = torch.promote_types(low.dtype, attended.dtype)
    hidden = torch.empty(
        (batch, weights.shape[1], height, width), dtype=dtype, device=low.device, memory_format=torch.channels_last
    )
    kernel.compare[(triton.cdiv(_pixels(low), PIXELS),)](
        hidden, low, attended, weights.detach().contiguous(), *_sizes(low), weights.shape[1], ROWS, PIXELS, BLOCK
    )
    return hidden


def compare_backward(gradient: Tensor, low: Tensor, attended: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `compare`."""
    low, attended, gradient = _last(low), _last(attended), _last(gradient)
    d_low, d_attended = torch.empty_like(low), torch.empty_like(attended)
    programs = min(PROGRAMS, triton.cdiv(_pixels(low), PIXELS))
    d_weights = torch.empty((programs, *weights.shape), dtype=torch.float32, device=low.device)
    kernel.compare_backward[(programs, triton.cdiv(low.shape[1], BLOCK))](
        *(d_low, d_attended, d_weights, gradient, low, attended, weights.detach().contiguous()),
        *_sizes(low),
        *(weights.shape[1], ROWS, PIXELS, BLOCK),
    )
    return d_low, d_attended, d_weights.sum(0).to(weights.dtype)


def blend(low: Tensor, attended: Tensor, trust: Tensor) -> Tensor:
    """Compute `src.ops.gate.blend`."""
    low, attended, trust = _last(low), _last(attended), trust.detach().contiguous()
    dtype = torch.promote_types(torch.promote_types(low.dtype, attended.dtype), trust.dtype)
    out = torch.empty_like(low, dtype=dtype)
    kernel.blend[(triton.cdiv(_pixels(low), PIXELS),)](out, low, attended, trust, *_sizes(low), PIXELS, BLOCK)
    return out


def blend_backward(gradient: Tensor, low: Tensor, attended: Tensor, trust: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `blend`."""
    low, attended, gradient, trust = _last(low), _last(attended), _last(gradient), trust.detach().contiguous()
    results = torch.empty_like(low), torch.empty_like(attended), torch.empty_like(trust)
    grid = (triton.cdiv(_pixels(low), PIXELS),)
    kernel.blend_backward[grid](*results, gradient, low, attended, trust, *_sizes(low), PIXELS, BLOCK)
    return results


def _last(x: Tensor) -> Tensor:
    return x.detach().contiguous(memory_format=torch.channels_last)


def _pixels(x: Tensor) -> int:
    return x.numel() // x.shape[1]


def _sizes(x: Tensor) -> tuple[int, int]:
    """Pixels of all images, and channels."""
    return _pixels(x), x.shape[1]
