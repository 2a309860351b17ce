"""Resizing of images, features and logits, in the fastest form that gives the same result."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops import standard
from src.ops.cpu.threads import can_use_cpu_kernel

FEW_CHANNELS = 32  # from about here on, torch fills its vector units as well
COARSEST = 1024  # denominator: of scales such as 0.5 and 0.375, for which an exported graph may keep its size open
LARGE = 100_000  # pixels; below, starting threads takes longer than it saves


def size_of(x: Tensor) -> tuple[int, int]:
    """Return (H, W) of a tensor (.., H, W)."""
    return x.shape[-2], x.shape[-1]


def scaled_size(x: Tensor, scale: float) -> tuple[int, int]:
    """(int(H * scale), int(W * scale)) of a tensor (.., H, W); in whole numbers where these can express the scale."""
    numerator, denominator = float(scale).as_integer_ratio()
    if denominator > COARSEST:
        return int(x.shape[-2] * scale), int(x.shape[-1] * scale)
    return x.shape[-2] * numerator // denominator, x.shape[-1] * numerator // denominator


def resize(x: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Bilinear resize of (B, C, h, w) to `size` = (H, W); the same tensor where nothing changes."""
    if size_of(x) == tuple(size):
        return x
    if _is_slow_in_torch(x, size):
        from src.ops.cpu.resize import upsample  # Numba loads only where it is used

        return upsample(x, size, align_corners)
    return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


def resize_bicubic(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic resize of (B, C, h, w) to `size` = (H, W), pixel centres aligned, computed in float32."""
    return F.interpolate(x.float(), size=size, mode="bicubic").to(x.dtype)


def labels_of(logits: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Classes (B, *size) uint8 of the highest logits after their resize, the lowest class in ties.

    The kernel writes no resized logits: reading and writing them takes several times longer than computing them.

    Args:
        logits: (B, K, h, w), K <= 256.
        size: (H, W) of the labels.
        align_corners: of the resize.
    """
    if _is_large(logits, size) and logits.shape[1] <= 256:
        from src.ops.cpu.resize import labels

        return labels(logits, size, align_corners)
    return resize(logits, size, align_corners).argmax(1).to(torch.uint8)


def average(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Adaptive average pooling of (B, C, h, w) to `size`."""
    return standard.average(x, size) if standard.only else F.adaptive_avg_pool2d(x, size)


def to_float_nchw(logits: Tensor) -> Tensor:
    """Logits in float32, class by class in memory: how losses on whole images are computed, and fastest."""
    return logits.float().contiguous()


def downscale(image: Tensor, scale: float) -> Tensor:
    """(B, C, int(H * scale), int(W * scale)), low-pass filtered; the image itself at scale 1."""
    if scale == 1:
        return image
    size = scaled_size(image, scale)
    if standard.only:
        return standard.shrink(image, size, scale)
    if can_use_cpu_kernel(image):
        from src.ops.cpu.resize import downsample

        return downsample(image, size)
    return F.interpolate(image, size=size, mode="bilinear", antialias=True)


def _is_slow_in_torch(x: Tensor, size: tuple[int, int]) -> bool:
    """Return whether x (B, C, h, w) has few channels for a large result: logits on their way to image size."""
    return x.shape[1] <= FEW_CHANNELS and _is_large(x, size)


def _is_large(x: Tensor, size: tuple[int, int]) -> bool:
    """Return whether kernels may enlarge x (B, C, h, w), and the result is large."""
    if not can_use_cpu_kernel(x):  # first, as an exported graph's size may be open
        return False
    _, _, height, width = x.shape
    return 2 <= height <= size[0] and 2 <= width <= size[1] and size[0] * size[1] >= LARGE
