"""Moving keyframe features to the current frame by motion vectors (AR-Seg, paper section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from src.models.base import resize


def motion_at(size: tuple[int, int], motion: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Motion (B, 2, *size) in feature pixels, and validity (B, *size), from vectors in pixels of the picture.

    A feature takes the mean over the valid pixels of its cell and is valid where they are at least half of it.
    """
    height, width = size
    if valid is None:
        valid = torch.ones_like(motion[:, 0], dtype=torch.bool)
    scale = motion.new_tensor([width / motion.shape[-1], height / motion.shape[-2]]).view(1, 2, 1, 1)
    if motion.shape[-2:] == size:
        return motion, valid
    weight = valid[:, None].to(motion.dtype)
    share = F.adaptive_avg_pool2d(weight, size)
    mean = F.adaptive_avg_pool2d(motion * weight, size) / share.clamp(min=1e-6)
    return mean * scale, share[:, 0] >= 0.5


def warp(features: Tensor, motion: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Features (B, C, H, W) sampled at x + motion(x), and where that position exists.

    Pixel centres are exact: zero motion changes nothing. Positions beyond the map repeat its border and are
    invalid, as are those of `valid` (B, H, W) being false.
    """
    x, y = _positions(motion)
    height, width = motion.shape[-2:]
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    grid = _normalised(x, y)
    moved = F.grid_sample(features.float(), grid, padding_mode="border", align_corners=True)
    return moved.to(features.dtype), valid & inside


def warp_officially(features: Tensor, motion: Tensor) -> Tensor:
    """The warp of the official code, which its weights were trained with.

    Its grid follows one corner convention and its sampling the other: zero motion shifts features by up to
    half a pixel, and zero padding fades the border.
    """
    height, width = features.shape[-2:]
    scale = motion.new_tensor([width / motion.shape[-1], height / motion.shape[-2]]).view(1, 2, 1, 1)
    motion = resize(motion * scale, (height, width), align_corners=True)
    moved = F.grid_sample(features.float(), _normalised(*_positions(motion)), align_corners=False)
    return moved.to(features.dtype)


def _positions(motion: Tensor) -> tuple[Tensor, Tensor]:
    """x and y (B, H, W) that each pixel points to."""
    height, width = motion.shape[-2:]
    x = torch.arange(width, device=motion.device, dtype=motion.dtype)
    y = torch.arange(height, device=motion.device, dtype=motion.dtype)
    return motion[:, 0] + x, motion[:, 1] + y[:, None]


def _normalised(x: Tensor, y: Tensor) -> Tensor:
    """Grid (B, H, W, 2) for grid_sample: pixel centres 0 .. n - 1 become -1 .. 1."""
    height, width = x.shape[-2:]
    return torch.stack((2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1), -1).float()
