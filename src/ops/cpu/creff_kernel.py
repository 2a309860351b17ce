"""CPU kernel of CReFF: the local attention kernel, fed row by row by the sampling and convolutions before it.

A tile holds three rows of the warped keyframe and of the upsampled frame, seven of keys and values, and three of the
gate's hidden layer. None of these maps is ever whole: at 64 x 180 x 240, writing and reading them takes as long as the
attention itself. Features are float32, or bfloat16 as uint16; everything between is float32, but for keys and values
that are kept in bfloat16 where `creff_tiles` computes the attention.
"""
# Numba infers the types of these functions from their first call.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, call-arg, var-annotated"

from __future__ import annotations

import numba
import numpy as np
from numba.core import types
from numba.extending import overload

from src.ops.cpu import GATE_WIDTH, creff_tiles
from src.ops.cpu.local_attention_kernel import EXCLUDED, F32, RADIUS, dots, mix, pack_bias, softmax
from src.ops.cpu.simd import (
    LANES,
    ROW,
    SHORT,
    WINDOW,
    add,
    distance,
    load,
    load_row,
    load_short,
    multiply_add,
    positive,
    sigmoid,
    splat,
    splat_row,
    splat_short,
    store,
    store_sums,
    total,
)

SIDE = 3  # of the depthwise convolutions, and of the gate's
CONV_TAPS = SIDE * SIDE
CUES = 3  # of the motion's reliability

_jit = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
_loose_jit = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc", "arcp"})


@_jit
def _neighbours(position, size):
    """Indices before and after a position clamped to 0 .. size - 1 (NaN: 0), and the weight of the second."""
    position = min(position, F32(size - 1)) if position > F32(0) else F32(0)
    before = int(position)
    return before, min(before + 1, size - 1), position - F32(before)


@_jit
def _sample(ring, source, at, batch, y, x0, n):
    """Row y of the map from column x0 into ring[:, y % SIDE]: `source` at positions `at`, zero beyond the map."""
    _, _, height, width = at.shape
    _, rows, columns, depth = source.shape
    groups, _, length, _ = ring.shape
    for i in range(n):
        x, target = x0 + i, (y % SIDE * length + i) * LANES
        if y < 0 or y >= height or x < 0 or x >= width:
            for group in range(groups):
                store(ring, group * SIDE * length * LANES + target, splat(F32(0)))
            continue
        left, right, u = _neighbours(at[batch, 0, y, x], columns)
        upper, lower, v = _neighbours(at[batch, 1, y, x], rows)
        first, second = (batch * rows + upper) * columns, (batch * rows + lower) * columns
        w0, w1 = splat((F32(1) - v) * (F32(1) - u)), splat((F32(1) - v) * u)
        w2, w3 = splat(v * (F32(1) - u)), splat(v * u)
        for group in range(groups):
            c = group * LANES
            value = multiply_add(w0, load(source, (first + left) * depth + c), splat(F32(0)))
            value = multiply_add(w1, load(source, (first + right) * depth + c), value)
            value = multiply_add(w2, load(source, (second + left) * depth + c), value)
            value = multiply_add(w3, load(source, (second + right) * depth + c), value)
            store(ring, group * SIDE * length * LANES + target, value)


@_jit
def _convolve(out, slot, ring, filters, y, x0, n, height, width):
    """Row y of a depthwise convolution from column x0 into out[:, slot], zero beyond the map.

    Column 0 of the ring lies left of x0. Filters are (groups, CONV_TAPS + 1, LANES), the bias last.
    """
    groups, slots, length, _ = out.shape
    first, last = max(0, -x0), min(n, width - x0)
    if y < 0 or y >= height:
        first = last = n
    for group in range(groups):
        target = (group * slots + slot) * length
        for i in range(first):
            store(out, (target + i) * LANES, splat(F32(0)))
        for i in range(max(first, last), n):
            store(out, (target + i) * LANES, splat(F32(0)))
        above = (group * SIDE + (y - 1) % SIDE) * ring.shape[2] * LANES
        here = (group * SIDE + y % SIDE) * ring.shape[2] * LANES
        below = (group * SIDE + (y + 1) % SIDE) * ring.shape[2] * LANES
        for c in range(0, LANES, SHORT):  # few channels at a time, so that their filter stays in registers
            f = group * (CONV_TAPS + 1) * LANES + c
            w0, w1, w2 = load_short(filters, f), load_short(filters, f + LANES), load_short(filters, f + 2 * LANES)
            f += SIDE * LANES
            w3, w4, w5 = load_short(filters, f), load_short(filters, f + LANES), load_short(filters, f + 2 * LANES)
            f += SIDE * LANES
            w6, w7, w8 = load_short(filters, f), load_short(filters, f + LANES), load_short(filters, f + 2 * LANES)
            bias = load_short(filters, f + SIDE * LANES)
            for i in range(first, last):
                a, b, d = above + i * LANES + c, here + i * LANES + c, below + i * LANES + c
                one = multiply_add(w0, load_short(ring, a), bias)
                one = multiply_add(w1, load_short(ring, a + LANES), one)
                one = multiply_add(w2, load_short(ring, a + 2 * LANES), one)
                one = multiply_add(w3, load_short(ring, b), one)
                one = multiply_add(w4, load_short(ring, b + LANES), one)
                one = multiply_add(w5, load_short(ring, b + 2 * LANES), one)
                one = multiply_add(w6, load_short(ring, d), one)
                one = multiply_add(w7, load_short(ring, d + LANES), one)
                one = multiply_add(w8, load_short(ring, d + 2 * LANES), one)
                store(out, (target + i) * LANES + c, one)


@_jit
def _add_low(out, mixed, raised, batch, y, x0, n):
    """Row y of the result from column x0: attended plus upsampled features."""
    groups, _, length, _ = raised.shape
    for i in range(n):
        place = ((batch * out.shape[1] + y) * out.shape[2] + x0 + i) * out.shape[3]
        for group in range(groups):
            low = load(raised, ((group * SIDE + y % SIDE) * length + i + 1) * LANES)
            attended = load(mixed, ((group * mixed.shape[1] + y % 2) * mixed.shape[2] + i) * LANES)
            store(out, place + group * LANES, add(low, attended))


@_jit
def _hide(hidden, weights, bias, mixed, raised, y, x0, n, height, width):
    """Row y of the gate's hidden layer from column x0 into hidden[y % SIDE], zero beyond the map.

    Weights are (groups, 3 GATE_WIDTH, LANES): of upsampled features, of attended ones and of their distance.
    """
    groups, _, length, _ = raised.shape
    for i in range(n):
        place = (y % SIDE * hidden.shape[1] + i) * GATE_WIDTH
        if y < 0 or y >= height or x0 + i < 0 or x0 + i >= width:
            store(hidden, place, splat_row(F32(0)))
            continue
        s0, s1, s2, s3 = splat_short(F32(0)), splat_short(F32(0)), splat_short(F32(0)), splat_short(F32(0))
        s4, s5, s6, s7 = splat_short(F32(0)), splat_short(F32(0)), splat_short(F32(0)), splat_short(F32(0))
        for group in range(groups):
            low_at = ((group * SIDE + y % SIDE) * length + i + 1) * LANES
            mixed_at = ((group * mixed.shape[1] + y % 2) * mixed.shape[2] + i) * LANES
            for c in range(0, LANES, SHORT):
                low, attended = load_short(raised, low_at + c), load_short(mixed, mixed_at + c)
                for kind in range(3):
                    vector = low if kind == 0 else attended if kind == 1 else distance(attended, low)
                    w = (group * 3 + kind) * GATE_WIDTH * LANES + c
                    s0 = multiply_add(vector, load_short(weights, w), s0)
                    s1 = multiply_add(vector, load_short(weights, w + LANES), s1)
                    s2 = multiply_add(vector, load_short(weights, w + 2 * LANES), s2)
                    s3 = multiply_add(vector, load_short(weights, w + 3 * LANES), s3)
                    s4 = multiply_add(vector, load_short(weights, w + 4 * LANES), s4)
                    s5 = multiply_add(vector, load_short(weights, w + 5 * LANES), s5)
                    s6 = multiply_add(vector, load_short(weights, w + 6 * LANES), s6)
                    s7 = multiply_add(vector, load_short(weights, w + 7 * LANES), s7)
        store_sums(hidden, place, s0, s1, s2, s3, s4, s5, s6, s7)
        store(hidden, place, positive(add(load_row(hidden, place), load_row(bias, 0))))


@_loose_jit
def _trust(out, cues, weights, bias, batch, y, x0, n):
    """Logits of the gate in row y from column x0, as far as the cues (B, CUES, H + 2, W + 2) decide."""
    out[:n] = bias
    for cue in range(CUES):
        for r in range(SIDE):
            for j in range(SIDE):
                row, weight = cues[batch, cue, y + r, x0 + j : x0 + j + n], weights[cue, r, j]
                for i in range(n):
                    out[i] += weight * row[i]


@_jit
def _blend(out, trust, known, hidden, weights, mixed, raised, batch, y, x0, n):
    """Row y of the result from column x0, where column 0 of `mixed` and `hidden` lies left of x0.

    `trust` is the part of the gate's logits that the cues decide. Where no key is valid (`known` 0) the upsampled
    feature stays.
    """
    groups, _, length, _ = raised.shape
    for i in range(n):
        score = splat_row(F32(0))
        for r in range(SIDE):
            row = ((y - 1 + r) % SIDE * hidden.shape[1] + i) * GATE_WIDTH
            for j in range(SIDE):
                weight = load_row(weights, (SIDE * r + j) * GATE_WIDTH)
                score = multiply_add(weight, load_row(hidden, row + j * GATE_WIDTH), score)
        trust[i] += total(score)
    for i in range(0, n, ROW):
        store(trust, i, sigmoid(load_row(trust, i)))
    for i in range(n):
        end = trust[i] * known[y % 2, i + 1]
        end, start = splat(end), splat(F32(1) - end)
        place = ((batch * out.shape[1] + y) * out.shape[2] + x0 + i) * out.shape[3]
        for group in range(groups):
            low = load(raised, ((group * SIDE + y % SIDE) * length + i + 2) * LANES)
            attended = load(mixed, ((group * mixed.shape[1] + y % 2) * mixed.shape[2] + i + 1) * LANES)
            low = multiply_add(start, low, splat(F32(0)))
            store(out, place + group * LANES, multiply_add(end, attended, low))


def _keep(keys, values, line, slot, ring, filters, y, x0, n, height, width):
    """Keys and values of row y from column x0 into their rings, in the form of these."""


@overload(_keep)
def _(keys, values, line, slot, ring, filters, y, x0, n, height, width):
    def plain(keys, values, line, slot, ring, filters, y, x0, n, height, width):
        _convolve(keys, slot, ring, filters[1], y, x0, n, height, width)
        _convolve(values, slot, ring, filters[2], y, x0, n, height, width)

    def tiled(keys, values, line, slot, ring, filters, y, x0, n, height, width):
        _convolve(line, 0, ring, filters[1], y, x0, n, height, width)
        creff_tiles.pack_keys(keys, slot, line, n)
        _convolve(line, 0, ring, filters[2], y, x0, n, height, width)
        creff_tiles.pack_values(values, slot, line, n)

    return tiled if keys.dtype == types.uint32 else plain


def _attend(mixed, known, raised, query, keys, values, line, filters, bias, start, row, x0, n, size, scratch):
    """Attended features of a row from column x0 into mixed[:, row % 2]."""


@overload(_attend)
def _(mixed, known, raised, query, keys, values, line, filters, bias, start, row, x0, n, size, scratch):
    def plain(mixed, known, raised, query, keys, values, line, filters, bias, start, row, x0, n, size, scratch):
        logits, top = scratch[0], row % WINDOW
        _convolve(query, 0, raised, filters[0], row, x0, n, size[0], size[1])
        dots(logits, query, keys, n, top)
        softmax(known[row % 2], logits, start, bias, n, top)
        mix(mixed, row % 2, logits, values, n, top)

    def tiled(mixed, known, raised, query, keys, values, line, filters, bias, start, row, x0, n, size, scratch):
        logits, bands, layout = scratch
        _convolve(line, 0, raised, filters[0], row, x0, n, size[0], size[1])
        creff_tiles.pack_query(query, line, n)
        found, top = known[row % 2], row % WINDOW
        creff_tiles.attend(mixed, row % 2, found, query, keys, values, bias, start, n, top, logits, bands, layout)

    return tiled if keys.dtype == types.uint32 else plain


@_jit
def forward(out, features, low, at, low_at, bias, filters, start, cues, gate, tiles, scratch):
    """Fused features; arguments as in `src.ops.cpu.creff`. Without cues there is no gate."""
    query, keys, values, mixed, biases, known, line, of_attention, warped, raised, hidden, trust = scratch
    weights, hidden_bias, score, cue_score, score_bias = gate
    _, height, width, _ = out.shape
    gated = cues.shape[0] > 0
    margin = 1 if gated else 0  # the gate looks at the neighbours' hidden layer
    for b, y0, y1, x0, x1 in tiles:
        first, last, column, n = y0 - margin, y1 + margin, x0 - margin, x1 - x0 + 2 * margin
        left, padded = column - RADIUS, n + 2 * RADIUS
        for newest in range(first - RADIUS - 1, last + RADIUS + 1):  # row of the warped map; each step lags behind it
            _sample(warped, features, at, b, newest, left - 1, padded + 2)
            y = newest - 1
            if y >= first - RADIUS:
                slot = (y + RADIUS) % WINDOW
                _keep(keys, values, line, slot, warped, filters, y, left, padded, height, width)
                pack_bias(biases, slot, bias, b, y, left, padded, EXCLUDED)
            row = y - RADIUS
            if row + 1 >= first - 1:
                _sample(raised, low, low_at, b, row + 1, column - 1, n + 2)
            if row < first:
                continue
            if 0 <= row < height:
                size, maps = (height, width), (query, keys, values)
                _attend(mixed, known, raised, *maps, line, filters, biases, start, row, column, n, size, of_attention)
            if not gated:
                _add_low(out, mixed, raised, b, row, x0, n)
                continue
            _hide(hidden, weights, hidden_bias, mixed, raised, row, column, n, height, width)
            if row > y0:
                _trust(trust, cues, cue_score, score_bias, b, row - 1, x0, x1 - x0)
                _blend(out, trust, known, hidden, score, mixed, raised, b, row - 1, x0, x1 - x0)


@_loose_jit
def _log1p(x):
    """log(1 + x) for x >= 0, to 2e-7; without a vector libm, LLVM would call log1pf once per number."""
    bits = F32(F32(1) + x).view(np.int32)
    exponent = (bits - np.int32(0x3F3504F3)) >> np.int32(23)  # leaves a factor within sqrt(1/2) .. sqrt(2)
    f = np.int32(bits - (exponent << np.int32(23))).view(F32) - F32(1)
    p = F32(7.0376836292e-2) * f - F32(1.1514610310e-1)
    p = p * f + F32(1.1676998740e-1)
    p = p * f - F32(1.2420140846e-1)
    p = p * f + F32(1.4249322787e-1)
    p = p * f - F32(1.6668057665e-1)
    p = p * f + F32(2.0000714765e-1)
    p = p * f - F32(2.4999993993e-1)
    p = p * f + F32(3.3333331174e-1)
    square = f * f
    return f * square * p - F32(0.5) * square + f + F32(exponent) * F32(0.69314718056)


@_loose_jit
def reliability(out, motion, valid, strips):
    """`motion_reliability` of motion (B, 2, H, W) into the inner part of (B, CUES, H + 2, W + 2)."""
    _, _, height, width = motion.shape
    sums = np.zeros((2, width + 2), F32)
    for b, y0, y1 in strips:
        for y in range(y0, y1):
            first, last = max(0, y - 1), min(height, y + 2)
            u, v, known = motion[b, 0, y], motion[b, 1, y], valid[b, y]
            flags, lengths, deviations = out[b, 0, y + 1], out[b, 1, y + 1], out[b, 2, y + 1]
            for axis in range(2):
                total = sums[axis]
                total[:] = F32(0)
                for row in range(first, last):
                    source = motion[b, axis, row]
                    for x in range(width):
                        total[x + 1] += source[x]
            around_u, around_v = sums[0], sums[1]
            for x in range(width):
                columns = min(x, 1) + 1 + min(width - 1 - x, 1)
                share = F32(1) / F32((last - first) * columns)
                du = u[x] - (around_u[x] + around_u[x + 1] + around_u[x + 2]) * share
                dv = v[x] - (around_v[x] + around_v[x + 1] + around_v[x + 2]) * share
                flags[x + 1] = F32(known[x])
                lengths[x + 1] = _log1p(np.sqrt(u[x] * u[x] + v[x] * v[x]))
                deviations[x + 1] = _log1p(np.sqrt(du * du + dv * dv))
