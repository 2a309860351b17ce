"""Resample images, logits and motion for inference on CPU, where torch is slow.

Few channels per pixel leave vector units idle. Here the direction with fewer rows comes first, and the other one
works on whole rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.ops.cpu import resize_kernel as kernel
from src.ops.cpu.threads import as_tensor, parallel_for

Size = tuple[int, int]
Taps = tuple[NDArray[np.int64], NDArray[np.float32]]  # first source position (n,), weights (n, taps)
STRIP = 32  # rows of the result that one thread computes in a row


def upsample(x: Tensor, size: Size, align_corners: bool = False) -> Tensor:
    """(B, C, *size), channels_last, as `F.interpolate(.., mode="bilinear")`; x has 2 pixels a side or more."""
    taps = [_neighbours(n, m, align_corners) for n, m in zip(x.shape[-2:], size, strict=True)]
    return _run(kernel.upsample, x, size, taps)


def labels(x: Tensor, size: Size, align_corners: bool = False) -> Tensor:
    """(B, *size) uint8, the classes of the highest values of `upsample` in float32; x has at most 256 channels."""
    taps = [_neighbours(n, m, align_corners) for n, m in zip(x.shape[-2:], size, strict=True)]
    out = np.empty((x.shape[0], *size), np.uint8)
    run: Callable[..., None] = kernel.labels
    logits = x.float().permute(0, 2, 3, 1).contiguous().numpy()
    parallel_for(lambda parts: run(out, logits, *taps[0], *taps[1], parts), strips(x.shape[0], size[0]))
    return torch.from_numpy(out)


def downsample(x: Tensor, size: Size) -> Tensor:
    """(B, C, *size), channels_last, as `F.interpolate(.., mode="bilinear", antialias=True)`."""
    taps = [_triangle(n, m) for n, m in zip(x.shape[-2:], size, strict=True)]
    return _run(kernel.downsample, x, size, taps)


def average_pool(motion: Tensor, valid: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """(B, 2, *size) means over the `valid` pixels (B, h, w) of each cell, and (B, *size) where they are half of it."""
    out = np.empty((motion.shape[0], 2, *size), np.float32)
    known = np.empty((motion.shape[0], *size), np.bool_)
    edges = [edge for n, m in zip(motion.shape[-2:], size, strict=True) for edge in _cells(n, m)]
    run: Callable[..., None] = kernel.average_pool
    arguments = (out, known, motion.float().contiguous().numpy(), valid.contiguous().numpy(), *edges)
    parallel_for(lambda parts: run(*arguments, parts), strips(out.shape[0], size[0]))
    return torch.from_numpy(out), torch.from_numpy(known)


def _run(function: Callable[..., None], x: Tensor, size: Size, taps: list[Taps]) -> Tensor:
    pixels = x.float().permute(0, 2, 3, 1).contiguous().numpy()
    out = np.empty((x.shape[0], *size, x.shape[1]), np.uint16 if x.dtype == torch.bfloat16 else np.float32)
    flat = (out.reshape(*out.shape[:2], -1), pixels.reshape(*pixels.shape[:2], -1))
    parallel_for(lambda parts: function(*flat, x.shape[1], *taps[0], *taps[1], parts), strips(x.shape[0], size[0]))
    return as_tensor(out).permute(0, 3, 1, 2)


def strips(batch: int, height: int) -> NDArray[np.int64]:
    """Parts of the result (N, 3): batch, first row, row after the last."""
    return np.array([(b, y, min(y + STRIP, height)) for b in range(batch) for y in range(0, height, STRIP)])


def _cells(size: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First position of each cell, and the one after its last, as in `F.adaptive_avg_pool2d`."""
    i = np.arange(target)
    return i * size // target, -(-(i + 1) * size // target)


def _neighbours(size: int, target: int, align_corners: bool) -> Taps:
    """Two taps; positions in float32 as torch computes them."""
    i = torch.arange(target, dtype=torch.float32)
    if align_corners:
        position = i * ((size - 1) / max(target - 1, 1))
    else:
        position = ((i + 0.5) * (size / target) - 0.5).clamp(min=0)
    first = position.long().clamp(max=size - 2)
    share = (position - first).clamp(max=1)
    return first.numpy(), torch.stack([1 - share, share], 1).numpy()


def _triangle(size: int, target: int) -> Taps:
    """Taps under a triangle as wide as two steps of the result, cut and normalised at the border."""
    scale = size / target
    centre = (np.arange(target) + 0.5) * scale
    first = np.maximum((centre - scale + 0.5).astype(np.int64), 0)
    count = int((np.minimum((centre + scale + 0.5).astype(np.int64), size) - first).max())
    first = np.minimum(first, size - count)
    weights = np.maximum(1 - np.abs(first[:, None] + np.arange(count) + 0.5 - centre[:, None]) / scale, 0)
    return first, (weights / weights.sum(1, keepdims=True)).astype(np.float32)
