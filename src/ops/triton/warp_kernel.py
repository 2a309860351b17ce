"""Triton kernels of the warp: one program has a run of pixels and all channels, in blocks.

The gradient of the features is scattered with atomic additions in float32, whose order is not fixed.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def forward(
    out_ptr,
    known_ptr,
    features_ptr,
    motion_ptr,
    valid_ptr,
    channels,
    height,
    width,
    stride_c,
    stride_y,
    stride_x,
    PIXELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the moved features of a run of pixels, channels last, and whether their positions exist."""
    image, pixel, inside, x, y = _positions(motion_ptr, height, width, PIXELS)
    exists = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    plane = image * height * width
    exists &= tl.load(valid_ptr + plane + pixel, mask=inside, other=0) != 0
    tl.store(known_ptr + plane + pixel, exists.to(tl.uint8), mask=inside)
    left, right, x_share = _neighbours(x, width)
    upper, lower, y_share = _neighbours(y, height)
    for c in range(0, channels, BLOCK):
        channel = c + tl.arange(0, BLOCK)
        mask = inside[:, None] & (channel < channels)[None, :]
        source = features_ptr + plane * channels + channel.to(tl.int64)[None, :] * stride_c
        result = _corner(source, upper * stride_y + left * stride_x, (1 - y_share) * (1 - x_share), mask)
        result += _corner(source, upper * stride_y + right * stride_x, (1 - y_share) * x_share, mask)
        result += _corner(source, lower * stride_y + left * stride_x, y_share * (1 - x_share), mask)
        result += _corner(source, lower * stride_y + right * stride_x, y_share * x_share, mask)
        target = out_ptr + (plane + pixel)[:, None] * channels + channel[None, :]
        tl.store(target, result.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def backward(
    d_features_ptr, gradient_ptr, motion_ptr, channels, height, width, PIXELS: tl.constexpr, BLOCK: tl.constexpr
):
    """Add the gradient of a run of pixels to that of the features at their positions; both are channels last."""
    image, pixel, inside, x, y = _positions(motion_ptr, height, width, PIXELS)
    left, right, x_share = _neighbours(x, width)
    upper, lower, y_share = _neighbours(y, height)
    plane = image * height * width
    for c in range(0, channels, BLOCK):
        channel = c + tl.arange(0, BLOCK)
        mask = inside[:, None] & (channel < channels)[None, :]
        source = gradient_ptr + (plane + pixel)[:, None] * channels + channel[None, :]
        gradient = tl.load(source, mask=mask, other=0.0).to(tl.float32)
        target = d_features_ptr + plane * channels + channel[None, :]
        _add(target, (upper * width + left) * channels, (1 - y_share) * (1 - x_share), gradient, mask)
        _add(target, (upper * width + right) * channels, (1 - y_share) * x_share, gradient, mask)
        _add(target, (lower * width + left) * channels, y_share * (1 - x_share), gradient, mask)
        _add(target, (lower * width + right) * channels, y_share * x_share, gradient, mask)


@triton.jit
def _positions(motion_ptr, height, width, PIXELS: tl.constexpr):
    """Image and pixels of the program, which of them exist, and the positions x and y that they point to."""
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    inside = pixel < height * width
    vectors = motion_ptr + image * 2 * height * width + pixel
    x = tl.load(vectors, mask=inside, other=0.0) + (pixel % width).to(tl.float32)
    y = tl.load(vectors + height * width, mask=inside, other=0.0) + (pixel // width).to(tl.float32)
    return image, pixel, inside, x, y


@triton.jit
def _neighbours(position, size):
    """Indices before and after a position clamped to the map, and the share of the latter."""
    position = tl.minimum(tl.maximum(position, 0.0), size - 1.0)  # NaN becomes 0
    before = tl.floor(position)
    index = before.to(tl.int32)
    return index, tl.minimum(index + 1, size - 1), position - before


@triton.jit
def _corner(source, at, weight, mask):
    return weight[:, None] * tl.load(source + at[:, None], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _add(target, at, weight, gradient, mask):
    tl.atomic_add(target + at[:, None], weight[:, None] * gradient, mask=mask, sem="relaxed")
