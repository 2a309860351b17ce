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

from src.ops.cpu.simd import LANES, WINDOW, add, add_seven_dots, load, multiply_add, splat, store

RADIUS, TAPS = 3, 49
PADDED_TAPS = 56  # whole AVX vectors for the exponentials
EMPTY = TAPS  # the place after the weights: one where every tap is excluded
EXCLUDED = np.float32(-1e30)  # finite, as infinities would need slower comparisons; its weight is exactly 0
F32 = np.float32

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
    """Copy n pixels of src (groups, pixels, LANES) to row y of dst from column x0."""
    origin = batch * stride[0] + y * stride[2] + x0 * stride[3]
    for group in range(src.shape[0]):
        c0 = group * LANES
        lanes = min(LANES, shape[1] - c0)
        if stride[1] == 1:
            for i in range(n):
                start = origin + i * stride[3] + c0
                target = dst[start : start + lanes]
                for c in range(lanes):
                    target[c] = src[group, i, c]
        else:
            for c in range(lanes):
                start = origin + (c0 + c) * stride[1]
                target = dst[start : start + n]
                for i in range(n):
                    target[i] = src[group, i, c]


@_jit
def pack_bias(dst, slot, bias, batch, y, x0, n, outside):
    """Row y of the logit bias, `outside` beyond the map; dst[slot, n] is 1 if any entry is not zero, else 0."""
    _, height, width = bias.shape
    dst[slot, n] = F32(0)
    for i in range(n):
        x = x0 + i
        value = bias[batch, y, x] if 0 <= y < height and 0 <= x < width else outside
        dst[slot, i] = value
        if value != F32(0):
            dst[slot, n] = F32(1)


@_jit
def dots(out, start, query, keys, n, top):
    """out[i, t] = start[t] + <query[:, 0, i], tap t of pixel i in keys>."""
    groups, _, length, _ = keys.shape
    for group in range(groups):
        for i in range(n):
            vector = load(query, (group * query.shape[2] + i) * LANES)
            for r in range(WINDOW):
                taps = ((group * WINDOW + (top + r) % WINDOW) * length + i) * LANES
                place = i * PADDED_TAPS + WINDOW * r
                if group == 0:
                    add_seven_dots(out, place, start, WINDOW * r, vector, keys, taps)
                else:
                    add_seven_dots(out, place, out, place, vector, keys, taps)


@_jit
def mix(out, weights, values, n, top):
    """out[:, i] = sum over taps t of weights[i, t] * tap t of pixel i in values."""
    groups, _, length, _ = values.shape
    for group in range(groups):
        for i in range(n):
            even, odd = splat(F32(0)), splat(F32(0))  # one chain of 49 additions would wait for each of them
            for r in range(WINDOW):
                row = weights[i, WINDOW * r : WINDOW * (r + 1)]
                taps = ((group * WINDOW + (top + r) % WINDOW) * length + i) * LANES
                for j in range(0, WINDOW - 1, 2):
                    even = multiply_add(splat(row[j]), load(values, taps + j * LANES), even)
                    odd = multiply_add(splat(row[j + 1]), load(values, taps + (j + 1) * LANES), odd)
                even = multiply_add(splat(row[WINDOW - 1]), load(values, taps + (WINDOW - 1) * LANES), even)
            store(out, (group * out.shape[1] + i) * LANES, add(even, odd))


@_jit
def _exp(x):
    """exp(x) for -87 <= x <= 0, to 2e-7; without a vector libm, LLVM would call expf once per tap."""
    n = np.floor(x * F32(1.4426950408889634) + F32(0.5))
    f = x - n * F32(0.693359375) + n * F32(2.12194440e-4)  # ln 2 in two parts keeps the remainder exact
    p = F32(1.9875691500e-4) * f + F32(1.3981999507e-3)
    p = p * f + F32(8.3334519073e-3)
    p = p * f + F32(4.1665795894e-2)
    p = p * f + F32(1.6666665459e-1)
    p = p * f + F32(5.0000001201e-1)
    p = p * f * f + f + F32(1)
    return p * np.int32((np.int32(n) + 127) << 23).view(F32)


@_jit
def softmax(logits, bias, n, top):
    """Softmax over the taps in place; all zero, and `EMPTY` one, where every tap is excluded."""
    biased = False
    for s in range(WINDOW):
        biased = biased or bias[s, n + 2 * RADIUS] != F32(0)
    for i in range(n):
        row = logits[i]
        if biased:
            for r in range(WINDOW):
                s = (top + r) % WINDOW
                for j in range(WINDOW):
                    row[WINDOW * r + j] += bias[s, i + j]
        m0, m1, m2, m3, m4, m5, m6 = row[0], row[1], row[2], row[3], row[4], row[5], row[6]
        for t in range(WINDOW, TAPS, WINDOW):
            m0, m1, m2, m3 = max(m0, row[t]), max(m1, row[t + 1]), max(m2, row[t + 2]), max(m3, row[t + 3])
            m4, m5, m6 = max(m4, row[t + 4]), max(m5, row[t + 5]), max(m6, row[t + 6])
        highest = max(max(max(m0, m1), max(m2, m3)), max(max(m4, m5), m6))
        if highest < EXCLUDED * F32(0.5):
            row[:] = F32(0)
            row[EMPTY] = F32(1)
            continue
        row[TAPS:] = EXCLUDED
        total = F32(0)
        for t in range(PADDED_TAPS):
            x = row[t] - highest
            e = _exp(max(x, F32(-87)))
            e = e if x > F32(-87) else F32(0)
            row[t] = e
            total += e
        total = F32(1) / total
        for t in range(PADDED_TAPS):
            row[t] *= total


@_jit
def forward(out, q, k, v, bias, outside, start, scale, shape, stride, tiles, scratch):
    """Attention output of the tiles; see `src.ops.cpu.local_attention` for the arguments."""
    query, keys, values, mixed, logits, biases = scratch
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
            dots(logits, start, query, keys, n, top)
            softmax(logits, biases, n, top)
            mix(mixed, logits, values, n, top)
            _unpack(out, mixed, b, row, x0, n, shape, stride)


@_jit
def backward_query(dq, weights, slopes, g, q, k, v, bias, outside, start, scale, shape, stride, tiles, scratch):
    """Gradient of the queries; keeps softmax weights and logit slopes (B, H, W, 49) for the second pass."""
    query, keys, values, mixed, logits, biases = scratch
    slope = np.empty_like(logits)
    zeros = np.zeros(PADDED_TAPS, F32)
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
            dots(logits, start, query, keys, n, top)
            softmax(logits, biases, n, top)
            _pack(query, 0, g, b, row, x0, n, shape, stride, F32(1))
            dots(slope, zeros, query, values, n, top)
            for i in range(n):
                mean = F32(0)
                for t in range(TAPS):
                    mean += logits[i, t] * slope[i, t]
                for t in range(TAPS):
                    slope[i, t] = logits[i, t] * (slope[i, t] - mean)
                    weights[b, row, x0 + i, t] = logits[i, t]
                    slopes[b, row, x0 + i, t] = slope[i, t]
                    slope[i, t] *= scale
            mix(mixed, slope, keys, n, top)
            _unpack(dq, mixed, b, row, x0, n, shape, stride)


@_jit
def _gather_taps(out, weights, batch, y, x0, n):
    """out[i, t]: weight with which the pixel at offset t of (y, x0 + i) looked at (y, x0 + i)."""
    _, height, width, _ = weights.shape
    for i in range(n):
        for r in range(WINDOW):
            for j in range(WINDOW):
                v, u, t = y + r - RADIUS, x0 + i + j - RADIUS, WINDOW * r + j
                inside = 0 <= v < height and 0 <= u < width
                out[i, t] = weights[batch, v, u, TAPS - 1 - t] if inside else F32(0)


@_jit
def backward_key(dk, dv, weights, slopes, g, q, scale, shape, stride, tiles, scratch):
    """Gradients of keys and values, gathered per source pixel, so that no two threads write one address."""
    _, queries, gradients, mixed, taps, _ = scratch
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
            mix(mixed, taps, queries, n, top)
            _unpack(dk, mixed, b, row, x0, n, shape, stride)
            _gather_taps(taps, weights, b, row, x0, n)
            mix(mixed, taps, gradients, n, top)
            _unpack(dv, mixed, b, row, x0, n, shape, stride)
