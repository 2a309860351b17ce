"""CPU kernel of 7 x 7 local attention: small tiles, packed so that every inner loop runs over 64 channels.

A tile keeps seven rows of keys and values in cache, padded by three zero pixels and cut into groups of `LANES`
channels on aligned addresses, each of which is one vector of `simd`. Packing also absorbs the memory layout, so
contiguous and channels-last tensors need no copy. All arrays of feature maps are flat.
"""
# Numba infers the types of these functions from their first call.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, call-arg, var-annotated"

from __future__ import annotations

import numba
import numpy as np

from src.ops.cpu import simd
from src.ops.cpu.simd import (
    LANES,
    ROW,
    SHORT,
    WINDOW,
    add,
    load,
    load_short,
    multiply_add,
    softmax_taps,
    splat,
    splat_short,
    store,
    store_sums,
)

RADIUS = 3
TAPS = WINDOW * ROW  # of a window; the last of each row is always excluded
F32 = np.float32
EXCLUDED = F32(simd.EXCLUDED)

_jit = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})


@_jit
def _pack(dst, slot, src, batch, y, x0, n, shape, stride, factor):
    """Copy n pixels of row y from column x0 into dst[:, slot], zero outside the map, times `factor`."""
    _, channels, height, width = shape
    first, last = max(0, -x0), min(n, width - x0)
    if y < 0 or y >= height:
        first = last = n
    origin = batch * stride[0] + y * stride[2] + x0 * stride[3]
    for group in range(dst.shape[0]):
        c0 = group * LANES
        lanes = min(LANES, channels - c0)
        dst[group, slot, :first] = F32(0)
        dst[group, slot, last:n] = F32(0)
        if stride[1] == 1:
            for i in range(first, last):
                start = origin + i * stride[3] + c0
                source, target = src[start : start + lanes], dst[group, slot, i]
                for c in range(lanes):
                    target[c] = source[c] * factor
        elif last > first:
            plane = dst[group, slot, first:last]
            for c in range(0, lanes - lanes % 4, 4):  # four planes at once hide the latency of memory
                start = origin + (c0 + c) * stride[1] + first
                s0, s1 = src[start:], src[start + stride[1] :]
                s2, s3 = src[start + 2 * stride[1] :], src[start + 3 * stride[1] :]
                for i in range(last - first):
                    plane[i, c] = s0[i] * factor
                    plane[i, c + 1] = s1[i] * factor
                    plane[i, c + 2] = s2[i] * factor
                    plane[i, c + 3] = s3[i] * factor
            for c in range(lanes - lanes % 4, lanes):
                source = src[origin + (c0 + c) * stride[1] + first :]
                for i in range(last - first):
                    plane[i, c] = source[i] * factor


@_jit
def _unpack(dst, src, batch, y, x0, n, shape, stride):
    """Copy n pixels of src (groups, 1, pixels, LANES) to row y of dst from column x0."""
    origin = batch * stride[0] + y * stride[2] + x0 * stride[3]
    for group in range(src.shape[0]):
        c0 = group * LANES
        lanes = min(LANES, shape[1] - c0)
        if stride[1] == 1:
            for i in range(n):
                start = origin + i * stride[3] + c0
                target = dst[start : start + lanes]
                for c in range(lanes):
                    target[c] = src[group, 0, i, c]
        else:
            for c in range(lanes):
                start = origin + (c0 + c) * stride[1]
                target = dst[start : start + n]
                for i in range(n):
                    target[i] = src[group, 0, i, c]


@_jit
def pack_bias(dst, slot, bias, batch, y, x0, n, outside):
    """Row y of the logit bias, `outside` beyond the map."""
    _, height, width = bias.shape
    for i in range(n):
        x = x0 + i
        dst[slot, i] = bias[batch, y, x] if 0 <= y < height and 0 <= x < width else outside


@_jit
def dots(out, query, keys, n, top):
    """out[i, t] = <query[:, 0, i], tap t of pixel i in keys>."""
    groups, _, length, _ = keys.shape
    for r in range(WINDOW):  # outermost, so that the taps of a pixel stay in the first-level cache for the next one
        for i in range(n):
            s0, s1, s2, s3 = splat_short(F32(0)), splat_short(F32(0)), splat_short(F32(0)), splat_short(F32(0))
            s4, s5, s6 = splat_short(F32(0)), splat_short(F32(0)), splat_short(F32(0))
            for group in range(groups):
                place = (group * query.shape[2] + i) * LANES
                taps = ((group * WINDOW + (top + r) % WINDOW) * length + i) * LANES
                for c in range(0, LANES, SHORT):
                    vector, tap = load_short(query, place + c), taps + c
                    s0 = multiply_add(vector, load_short(keys, tap), s0)
                    s1 = multiply_add(vector, load_short(keys, tap + LANES), s1)
                    s2 = multiply_add(vector, load_short(keys, tap + 2 * LANES), s2)
                    s3 = multiply_add(vector, load_short(keys, tap + 3 * LANES), s3)
                    s4 = multiply_add(vector, load_short(keys, tap + 4 * LANES), s4)
                    s5 = multiply_add(vector, load_short(keys, tap + 5 * LANES), s5)
                    s6 = multiply_add(vector, load_short(keys, tap + 6 * LANES), s6)
            store_sums(out, i * TAPS + ROW * r, s0, s1, s2, s3, s4, s5, s6, splat_short(F32(0)))


@_jit
def mix(out, slot, weights, values, n, top):
    """out[:, slot, i] = sum over taps t of weights[i, t] * tap t of pixel i in values."""
    groups, _, length, _ = values.shape
    for group in range(groups):
        for i in range(n):
            even, odd = splat(F32(0)), splat(F32(0))  # one chain of 49 additions would wait for each of them
            for r in range(WINDOW):
                row = weights[i, ROW * r : ROW * r + WINDOW]
                taps = ((group * WINDOW + (top + r) % WINDOW) * length + i) * LANES
                for j in range(0, WINDOW - 1, 2):
                    even = multiply_add(splat(row[j]), load(values, taps + j * LANES), even)
                    odd = multiply_add(splat(row[j + 1]), load(values, taps + (j + 1) * LANES), odd)
                even = multiply_add(splat(row[WINDOW - 1]), load(values, taps + (WINDOW - 1) * LANES), even)
            store(out, ((group * out.shape[1] + slot) * out.shape[2] + i) * LANES, add(even, odd))


@_jit
def softmax(known, logits, start, bias, n, top):
    """Softmax over the taps in place; known[i] is 1, or 0 where every tap is excluded and the weights are 0.

    Pixels are taken in twos: buffers have room for one more.
    """
    step = bias.shape[1]
    first = (
        top % WINDOW * step,
        (top + 1) % WINDOW * step,
        (top + 2) % WINDOW * step,
        (top + 3) % WINDOW * step,
        (top + 4) % WINDOW * step,
        (top + 5) % WINDOW * step,
        (top + 6) % WINDOW * step,
    )
    for i in range(0, n, 2):
        at = i * TAPS
        softmax_taps(known, i, logits, at, TAPS, ROW, logits, at, TAPS, ROW, start, bias, first)


@_jit
def forward(out, q, k, v, bias, outside, start, scale, shape, stride, tiles, scratch):
    """Attention output of the tiles; see `src.ops.cpu.local_attention` for the arguments."""
    query, keys, values, mixed, logits, biases, known = scratch
    for b, y0, y1, x0, x1 in tiles:
        n = x1 - x0
        padded = n + 2 * RADIUS
        for y in range(y0 - RADIUS, y1 + RADIUS):
            slot = (y + RADIUS) % WINDOW
            _pack(keys, slot, k, b, y, x0 - RADIUS, padded, shape, stride, F32(1))
            _pack(values, slot, v, b, y, x0 - RADIUS, padded, shape, stride, F32(1))
            pack_bias(biases, slot, bias, b, y, x0 - RADIUS, padded, outside)
            row = y - RADIUS
            if row < y0:
                continue
            top = row % WINDOW
            _pack(query, 0, q, b, row, x0, n, shape, stride, scale)
            dots(logits, query, keys, n, top)
            softmax(known[0], logits, start, biases, n, top)
            mix(mixed, 0, logits, values, n, top)
            _unpack(out, mixed, b, row, x0, n, shape, stride)


@_jit
def backward_query(dq, weights, slopes, g, q, k, v, bias, outside, start, scale, shape, stride, tiles, scratch):
    """Gradient of the queries; keeps softmax weights and logit slopes (B, H, W, TAPS) for the second pass."""
    query, keys, values, mixed, logits, biases, known = scratch
    slope = np.empty_like(logits)
    for b, y0, y1, x0, x1 in tiles:
        n = x1 - x0
        padded = n + 2 * RADIUS
        for y in range(y0 - RADIUS, y1 + RADIUS):
            slot = (y + RADIUS) % WINDOW
            _pack(keys, slot, k, b, y, x0 - RADIUS, padded, shape, stride, F32(1))
            _pack(values, slot, v, b, y, x0 - RADIUS, padded, shape, stride, F32(1))
            pack_bias(biases, slot, bias, b, y, x0 - RADIUS, padded, outside)
            row = y - RADIUS
            if row < y0:
                continue
            top = row % WINDOW
            _pack(query, 0, q, b, row, x0, n, shape, stride, scale)
            dots(logits, query, keys, n, top)
            softmax(known[0], logits, start, biases, n, top)
            _pack(query, 0, g, b, row, x0, n, shape, stride, F32(1))
            dots(slope, query, values, n, top)
            for i in range(n):
                mean = F32(0)
                for t in range(TAPS):
                    mean += logits[i, t] * slope[i, t]
                for t in range(TAPS):
                    slope[i, t] = logits[i, t] * (slope[i, t] - mean)
                    weights[b, row, x0 + i, t] = logits[i, t]
                    slopes[b, row, x0 + i, t] = slope[i, t]
                    slope[i, t] *= scale
            mix(mixed, 0, slope, keys, n, top)
            _unpack(dq, mixed, b, row, x0, n, shape, stride)


@_jit
def _gather_taps(out, weights, batch, y, x0, n):
    """out[i, t]: weight with which the pixel at offset t of (y, x0 + i) looked at (y, x0 + i)."""
    _, height, width, _ = weights.shape
    for i in range(n):
        for r in range(WINDOW):
            for j in range(WINDOW):
                v, u, opposite = y + r - RADIUS, x0 + i + j - RADIUS, ROW * (WINDOW - 1 - r) + WINDOW - 1 - j
                inside = 0 <= v < height and 0 <= u < width
                out[i, ROW * r + j] = weights[batch, v, u, opposite] if inside else F32(0)


@_jit
def backward_key(dk, dv, weights, slopes, g, q, scale, shape, stride, tiles, scratch):
    """Gradients of keys and values, gathered per source pixel, so that no two threads write one address."""
    _, queries, gradients, mixed, taps, _, _ = scratch
    for b, y0, y1, x0, x1 in tiles:
        n = x1 - x0
        padded = n + 2 * RADIUS
        for y in range(y0 - RADIUS, y1 + RADIUS):
            slot = (y + RADIUS) % WINDOW
            _pack(queries, slot, q, b, y, x0 - RADIUS, padded, shape, stride, scale)
            _pack(gradients, slot, g, b, y, x0 - RADIUS, padded, shape, stride, F32(1))
            row = y - RADIUS
            if row < y0:
                continue
            top = row % WINDOW
            _gather_taps(taps, slopes, b, row, x0, n)
            mix(mixed, 0, taps, queries, n, top)
            _unpack(dk, mixed, b, row, x0, n, shape, stride)
            _gather_taps(taps, weights, b, row, x0, n)
            mix(mixed, 0, taps, gradients, n, top)
            _unpack(dv, mixed, b, row, x0, n, shape, stride)
