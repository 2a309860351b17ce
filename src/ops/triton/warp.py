"""Run the Triton kernels of the warp on torch tensors."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from src.ops.triton import warp_kernel as kernel

PIXELS, BLOCK = 32, 64


def forward(features: Tensor, motion: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `src.ops.warp.warp`."""
    if not (features.is_contiguous() or features.is_contiguous(memory_format=torch.channels_last)):
        features = features.contiguous()
    out = torch.empty_like(features, memory_format=torch.channels_last)
    known = torch.empty_like(valid, dtype=torch.bool, memory_format=torch.contiguous_format)
    kernel.forward[_grid(features)](
        out,
        known.view(torch.uint8),
        features.detach(),
        motion.float().contiguous(),
        valid.contiguous().view(torch.uint8),
        *features.shape[1:],
        *features.stride()[1:],
        PIXELS=PIXELS,
        BLOCK=BLOCK,
    )
    return out, known


def backward(gradient: Tensor, motion: Tensor) -> Tensor:
    """Gradient of the features, channels last."""
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    total = torch.zeros_like(gradient, dtype=torch.float32, memory_format=torch.channels_last)
    kernel.backward[_grid(gradient)](
        total, gradient, motion.float().contiguous(), *gradient.shape[1:], PIXELS=PIXELS, BLOCK=BLOCK
    )
    return total.to(gradient.dtype)


def _grid(x: Tensor) -> tuple[int, int]:
    batch, _, height, width = x.shape
    return triton.cdiv(height * width, PIXELS), batch
