"""The switch to operators that every runtime knows, and forms of resizing made of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

only = False  # while a network is exported


@contextmanager
def standard_operators() -> Iterator[None]:
    """Run everything inside in convolutions, matrix products, slices, bilinear resizing and grid sampling alone."""
    global only
    before, only = only, True
    try:
        yield
    finally:
        only = before


def shrink(image: Tensor, size: tuple[int, int], scale: float) -> Tensor:
    """Resize as `interpolate(antialias=True)`: a strided convolution for whole factors, else two matrix products.

    Args:
        image: (B, C, H, W).
        size: of the result.
        scale: that the size is of, in 0..1.
    """
    (height, width), channels = image.shape[-2:], image.shape[1]
    factor = round(1 / scale)  # a plain number, also where the size is open
    if factor * size[0] != height or factor * size[1] != width:
        return _triangle(height, size[0], image) @ image @ _triangle(width, size[1], image).transpose(0, 1)
    taps = 2 * factor - factor % 2
    weights = 1 - (torch.arange(taps, device=image.device) - (taps - 1) / 2).abs() / factor
    kernel = (weights[:, None] * weights).to(image.dtype).expand(channels, 1, taps, taps)
    padding = (taps - factor) // 2
    total = F.conv2d(torch.ones_like(image[:1, :1]), kernel[:1], stride=factor, padding=padding)
    return F.conv2d(image, kernel, stride=factor, padding=padding, groups=channels) / total


def average(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Pool as `adaptive_avg_pool2d`: average pooling for whole factors, else two matrix products."""
    height, width = x.shape[-2:]
    opened = isinstance(height, torch.SymInt) and not isinstance(size[0], torch.SymInt)  # no factor suits every size
    if not opened and height % size[0] == 0 and width % size[1] == 0:
        return F.avg_pool2d(x, (int(height // size[0]), int(width // size[1])))
    return _cells(height, size[0], x) @ x @ _cells(width, size[1], x).transpose(0, 1)


def _triangle(length: int, outputs: int, like: Tensor) -> Tensor:
    """(outputs, length) weights of antialiased bilinear shrinking along one side."""
    places = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
    centres = (torch.arange(outputs, device=like.device, dtype=like.dtype) + 0.5) * (length / outputs)
    weights = (1 - (places - centres[:, None]).abs() * (outputs / length)).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def _cells(length: int, outputs: int, like: Tensor) -> Tensor:
    """(outputs, length) weights of adaptive average pooling along one side."""
    place, cell = torch.arange(length, device=like.device), torch.arange(outputs, device=like.device)[:, None]
    first, after = cell * length // outputs, ((cell + 1) * length + outputs - 1) // outputs
    inside = ((place >= first) & (place < after)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)
