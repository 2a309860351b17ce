"""Moving keyframe features to the current frame by motion vectors (AR-Seg, paper section 3.2)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops import standard
from src.ops.cpu.threads import can_use_cpu_kernel
from src.ops.forms import can_use_triton
from src.ops.resize import average, resize


def motion_at(size: tuple[int, int], motion: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Motion (B, 2, *size) in feature pixels, and validity (B, *size), from vectors in image pixels.

    A feature takes the mean over the valid pixels of its cell and is valid where they are at least half of it.
    """
    if valid is None:
        valid = torch.ones_like(motion[:, 0], dtype=torch.bool)
    if motion.shape[-2:] == size:
        return motion, valid
    if can_use_cpu_kernel(motion):
        from src.ops.cpu.resize import average_pool  # Numba loads only where it is used

        mean, known = average_pool(motion, valid, size)
        return _scaled(mean, size, motion), known
    weight = valid[:, None].to(motion.dtype)
    share = average(weight, size)
    mean = average(motion * weight, size) / share.clamp(min=1e-6)
    return _scaled(mean, size, motion), share[:, 0] >= 0.5


def _scaled(mean: Tensor, size: tuple[int, int], motion: Tensor) -> Tensor:
    """Motion in feature pixels; a tensor of both factors would make the host wait for its copy to a GPU."""
    height, width = size
    return torch.cat([mean[:, :1] * (width / motion.shape[-1]), mean[:, 1:] * (height / motion.shape[-2])], 1)


def warp(features: Tensor, motion: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Sample features (B, C, H, W) bilinearly at x + motion(x), and give where that position exists.

    Pixel centres are exact: zero motion changes nothing. Positions beyond the map repeat its border and are
    invalid, as are those where `valid` (B, H, W) is false. The result is channels_last.
    """
    if can_use_triton(features):
        moved, valid = torch.ops.vss.warp(features, motion, valid)
        return moved, valid
    batch, channels, height, width = features.shape
    x, y, valid = sample_positions(motion, valid)
    if standard.only:
        grid = torch.stack((2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1), -1)
        return F.grid_sample(features, grid, padding_mode="border", align_corners=True), valid
    left, right, x_weights = _neighbours(x, width)
    upper, lower, y_weights = _neighbours(y, height)
    first = torch.arange(batch, device=x.device).view(-1, 1, 1) * (height * width)
    corners = [first + row * width + column for row in (upper, lower) for column in (left, right)]
    weights = [wy * wx for wy in y_weights for wx in x_weights]
    # whole feature vectors are looked up and averaged: several times faster than grid_sample on CPU
    moved = F.embedding_bag(
        torch.stack(corners, -1).view(-1, 4),
        features.permute(0, 2, 3, 1).reshape(-1, channels),
        per_sample_weights=torch.stack(weights, -1).view(-1, 4).to(features.dtype),
        mode="sum",
    )
    return moved.view(batch, height, width, channels).permute(0, 3, 1, 2), valid


@torch.library.custom_op("vss::warp", mutates_args=())
def _warp(features: Tensor, motion: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    from src.ops.triton import warp as kernel  # Triton loads only where it is used

    return kernel.forward(features, motion, valid)


@torch.library.custom_op("vss::warp_backward", mutates_args=())
def _warp_backward(gradient: Tensor, motion: Tensor) -> Tensor:
    from src.ops.triton import warp as kernel

    return kernel.backward(gradient, motion)


@_warp.register_fake
def _(features: Tensor, motion: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    moved = features.new_empty(features.shape).contiguous(memory_format=torch.channels_last)
    return moved, valid.new_empty(valid.shape, dtype=torch.bool)


@_warp_backward.register_fake
def _(gradient: Tensor, motion: Tensor) -> Tensor:
    return gradient.new_empty(gradient.shape).contiguous(memory_format=torch.channels_last)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
    ctx.save_for_backward(inputs[1])


def _differentiate(ctx: Any, gradient: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    return torch.ops.vss.warp_backward(gradient, *ctx.saved_tensors), None, None


_warp.register_autograd(_differentiate, setup_context=_save)


def sample_positions(motion: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Positions x + motion(x) as x and y (B, H, W) in float32, and where they exist and `valid` is true."""
    height, width = motion.shape[-2:]
    x, y = _positions(motion.float())
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return x, y, valid & inside


def _neighbours(position: Tensor, size: int) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Indices before and after a position clamped to 0 .. size - 1, and their weights; those of NaN are 0."""
    position = position.nan_to_num(0).clamp(0, size - 1)
    before = position.floor()
    after = (before + 1).clamp(max=size - 1)
    share = position - before
    return before.long(), after.long(), (1 - share, share)


def warp_legacy(features: Tensor, motion: Tensor) -> Tensor:
    """Warp features (B, C, H, W) as the official code does, for weights that were trained with it.

    Its grid follows one corner convention and its sampling the other: zero motion shifts features by up to
    half a pixel, and zero padding fades the border. Both components of the motion are scaled by the ratio of the
    heights, which differs from that of the widths where a side is no multiple of the features' stride.
    """
    height, width = features.shape[-2:]
    motion = resize(motion * (height / motion.shape[-2]), (height, width), align_corners=True)
    x, y = _positions(motion.float())
    grid = torch.stack((2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1), -1)
    return F.grid_sample(features.float(), grid, align_corners=False).to(features.dtype)


def _positions(motion: Tensor) -> tuple[Tensor, Tensor]:
    """x and y (B, H, W) that each pixel points to."""
    height, width = motion.shape[-2:]
    x = torch.arange(width, device=motion.device, dtype=motion.dtype)
    y = torch.arange(height, device=motion.device, dtype=motion.dtype)
    return motion[:, 0] + x, motion[:, 1] + y[:, None]
