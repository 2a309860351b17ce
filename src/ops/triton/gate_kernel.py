"""Triton kernels of CReFF's gate: what compares two feature maps, and what blends them.

Maps are channels last. Programs have runs of pixels and all channels, in blocks; sums over pixels are written for
each program and added afterwards, so that results do not depend on the order in which programs run.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def compare(
    hidden_ptr, low_ptr, attended_ptr, weights_ptr, pixels, channels,
    HIDDEN: tl.constexpr, ROWS: tl.constexpr, PIXELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write A attended + D |attended - low| of a run of pixels; weights are A and D, each (HIDDEN, channels)."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    row = tl.arange(0, ROWS)
    hidden = tl.zeros((PIXELS, ROWS), tl.float32)
    for c in range(0, channels, BLOCK):
        channel = c + tl.arange(0, BLOCK)
        low, attended = _pair(low_ptr, attended_ptr, pixel, channel, pixels, channels)
        of_attended, of_distance = _weights(weights_ptr, row, channel, channels, HIDDEN)
        hidden = tl.dot(attended, tl.trans(of_attended), hidden, input_precision="tf32x3")
        hidden = tl.dot(tl.abs(attended - low), tl.trans(of_distance), hidden, input_precision="tf32x3")
    mask = (pixel < pixels)[:, None] & (row < HIDDEN)[None, :]
    tl.store(hidden_ptr + pixel[:, None] * HIDDEN + row[None, :], hidden.to(hidden_ptr.dtype.element_ty), mask=mask)


@triton.jit
def compare_backward(
    d_low_ptr, d_attended_ptr, d_weights_ptr, d_hidden_ptr, low_ptr, attended_ptr, weights_ptr, pixels, channels,
    HIDDEN: tl.constexpr, ROWS: tl.constexpr, PIXELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the gradients of both maps for one block of channels, and the program's part of those of the weights."""
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row = tl.arange(0, ROWS)
    of_attended, of_distance = _weights(weights_ptr, row, channel, channels, HIDDEN)
    d_of_attended, d_of_distance = tl.zeros((ROWS, BLOCK), tl.float32), tl.zeros((ROWS, BLOCK), tl.float32)
    for first in range(tl.program_id(0) * PIXELS, pixels, tl.num_programs(0) * PIXELS):
        pixel = (first + tl.arange(0, PIXELS)).to(tl.int64)
        low, attended = _pair(low_ptr, attended_ptr, pixel, channel, pixels, channels)
        shown = (pixel < pixels)[:, None] & (row < HIDDEN)[None, :]
        d_hidden = tl.load(d_hidden_ptr + pixel[:, None] * HIDDEN + row[None, :], mask=shown, other=0.0).to(tl.float32)
        difference = attended - low
        sign = (difference > 0).to(tl.float32) - (difference < 0).to(tl.float32)
        d_difference = sign * tl.dot(d_hidden, of_distance, input_precision="tf32x3")
        d_attended = tl.dot(d_hidden, of_attended, input_precision="tf32x3") + d_difference
        mask = (pixel < pixels)[:, None] & (channel < channels)[None, :]
        at = pixel[:, None] * channels + channel[None, :]
        tl.store(d_low_ptr + at, (-d_difference).to(d_low_ptr.dtype.element_ty), mask=mask)
        tl.store(d_attended_ptr + at, d_attended.to(d_attended_ptr.dtype.element_ty), mask=mask)
        shares = tl.trans(d_hidden)
        d_of_attended = tl.dot(shares, attended, d_of_attended, input_precision="tf32x3")
        d_of_distance = tl.dot(shares, tl.abs(difference), d_of_distance, input_precision="tf32x3")
    mask = (row < HIDDEN)[:, None] & (channel < channels)[None, :]
    target = d_weights_ptr + (tl.program_id(0) * 2 * HIDDEN + row)[:, None] * channels + channel[None, :]
    tl.store(target, d_of_attended, mask=mask)
    tl.store(target + HIDDEN * channels, d_of_distance, mask=mask)


@triton.jit
def blend(out_ptr, low_ptr, attended_ptr, trust_ptr, pixels, channels, PIXELS: tl.constexpr, BLOCK: tl.constexpr):
    """Write low + trust (attended - low) of a run of pixels."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    trust = tl.load(trust_ptr + pixel, mask=pixel < pixels, other=0.0).to(tl.float32)[:, None]
    for c in range(0, channels, BLOCK):
        channel = c + tl.arange(0, BLOCK)
        low, attended = _pair(low_ptr, attended_ptr, pixel, channel, pixels, channels)
        mask = (pixel < pixels)[:, None] & (channel < channels)[None, :]
        target = out_ptr + pixel[:, None] * channels + channel[None, :]
        tl.store(target, (low + trust * (attended - low)).to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def blend_backward(
    d_low_ptr, d_attended_ptr, d_trust_ptr, gradient_ptr, low_ptr, attended_ptr, trust_ptr, pixels, channels,
    PIXELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the gradients of both maps and of the trust of a run of pixels."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    trust = tl.load(trust_ptr + pixel, mask=pixel < pixels, other=0.0).to(tl.float32)[:, None]
    d_trust = tl.zeros((PIXELS,), tl.float32)
    for c in range(0, channels, BLOCK):
        channel = c + tl.arange(0, BLOCK)
        low, attended = _pair(low_ptr, attended_ptr, pixel, channel, pixels, channels)
        mask = (pixel < pixels)[:, None] & (channel < channels)[None, :]
        at = pixel[:, None] * channels + channel[None, :]
        gradient = tl.load(gradient_ptr + at, mask=mask, other=0.0).to(tl.float32)
        d_trust += tl.sum(gradient * (attended - low), 1)
        tl.store(d_attended_ptr + at, (trust * gradient).to(d_attended_ptr.dtype.element_ty), mask=mask)
        tl.store(d_low_ptr + at, ((1 - trust) * gradient).to(d_low_ptr.dtype.element_ty), mask=mask)
    tl.store(d_trust_ptr + pixel, d_trust.to(d_trust_ptr.dtype.element_ty), mask=pixel < pixels)


@triton.jit
def _pair(low_ptr, attended_ptr, pixel, channel, pixels, channels):
    """Both maps (pixels, channels) in float32; 0 beyond them."""
    mask = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    at = pixel[:, None] * channels + channel[None, :]
    low = tl.load(low_ptr + at, mask=mask, other=0.0).to(tl.float32)
    return low, tl.load(attended_ptr + at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _weights(weights_ptr, row, channel, channels, HIDDEN: tl.constexpr):
    """Weights (rows, channels) of the attended features and of the distance, in float32; 0 beyond them."""
    mask = (row < HIDDEN)[:, None] & (channel < channels)[None, :]
    at = row[:, None] * channels + channel[None, :]
    of_attended = tl.load(weights_ptr + at, mask=mask, other=0.0).to(tl.float32)
    return of_attended, tl.load(weights_ptr + HIDDEN * channels + at, mask=mask, other=0.0).to(tl.float32)
