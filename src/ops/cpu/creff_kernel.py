"""CPU kernel of CReFF: the local attention kernel, fed row by row by the sampling and convolutions before it.

A tile holds three rows of the warped keyframe and of the upsampled frame, seven of keys and values. None of these
maps is ever whole: at 64 x 180 x 240, writing and reading them takes as long as the attention itself.
"""
# Numba infers the types of these functions from their first call.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, call-arg, var-annotated"

from __future__ import annotations

import numba

from src.ops.cpu import GATE_WIDTH
from src.ops.cpu.local_attention_kernel import EMPTY, EXCLUDED, F32, RADIUS, dots, mix, pack_bias, softmax
from src.ops.cpu.simd import LANES, WINDOW, add, add_eight_dots, distance, load, multiply_add, splat, store

SIDE = 3  # of the depthwise convolutions
CONV_TAPS = SIDE * SIDE

_jit = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})


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
            total = multiply_add(w0, load(source, (first + left) * depth + c), splat(F32(0)))
            total = multiply_add(w1, load(source, (first + right) * depth + c), total)
            total = multiply_add(w2, load(source, (second + left) * depth + c), total)
            total = multiply_add(w3, load(source, (second + right) * depth + c), total)
            store(ring, group * SIDE * length * LANES + target, total)


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
        for i in range(n):
            if i < first or i >= last:
                store(out, (target + i) * LANES, splat(F32(0)))
                continue
            weights = group * (CONV_TAPS + 1) * LANES
            total = load(filters, weights + CONV_TAPS * LANES)
            for r in range(SIDE):
                row = ((group * SIDE + (y - 1 + r) % SIDE) * ring.shape[2] + i) * LANES
                for j in range(SIDE):
                    weight = load(filters, weights + (SIDE * r + j) * LANES)
                    total = multiply_add(weight, load(ring, row + j * LANES), total)
            store(out, (target + i) * LANES, total)


@_jit
def _add_low(out, mixed, raised, batch, y, x0, n):
    """Row y of the result from column x0: attended plus upsampled features."""
    groups, _, length, _ = raised.shape
    for i in range(n):
        place = ((batch * out.shape[1] + y) * out.shape[2] + x0 + i) * out.shape[3]
        for group in range(groups):
            low = load(raised, ((group * SIDE + y % SIDE) * length + i + 1) * LANES)
            attended = load(mixed, (group * mixed.shape[1] + i) * LANES)
            store(out, place + group * LANES, add(low, attended))


@_jit
def _compare(out, hidden, gate, mixed, logits, raised, batch, y, x0, n):
    """Row y of the attended features, and what the gate sees in them added to `hidden`.

    Where no key was valid the upsampled feature takes their place, so that the gate changes nothing there.
    """
    groups, _, length, _ = raised.shape
    for i in range(n):
        pixel = (batch * out.shape[1] + y) * out.shape[2] + x0 + i
        place = pixel * GATE_WIDTH
        for group in range(groups):
            low = load(raised, ((group * SIDE + y % SIDE) * length + i + 1) * LANES)
            attended = load(mixed, (group * mixed.shape[1] + i) * LANES)
            store(out, pixel * out.shape[3] + group * LANES, attended if logits[i, EMPTY] == F32(0) else low)
            weights = 2 * group * GATE_WIDTH * LANES
            add_eight_dots(hidden, place, hidden, place, attended, gate, weights)
            add_eight_dots(hidden, place, hidden, place, distance(attended, low), gate, weights + GATE_WIDTH * LANES)


@_jit
def forward(out, hidden, features, low, at, low_at, bias, filters, gate, start, tiles, scratch):
    """Attended features, with the upsampled ones added unless there is a gate; arguments as in `src.ops.cpu.creff`."""
    query, keys, values, mixed, logits, biases, warped, raised = scratch
    query_filters, key_filters, value_filters = filters
    _, height, width, _ = out.shape
    for b, y0, y1, x0, x1 in tiles:
        n = x1 - x0
        left, padded = x0 - RADIUS, n + 2 * RADIUS
        for newest in range(y0 - RADIUS - 1, y1 + RADIUS + 1):  # row of the warped map; each step lags behind it
            _sample(warped, features, at, b, newest, left - 1, padded + 2)
            y = newest - 1
            if y >= y0 - RADIUS:
                slot = (y + RADIUS) % WINDOW
                _convolve(keys, slot, warped, key_filters, y, left, padded, height, width)
                _convolve(values, slot, warped, value_filters, y, left, padded, height, width)
                pack_bias(biases, slot, bias, b, y, left, padded, EXCLUDED)
            row = y - RADIUS
            if row + 1 >= y0 - 1:
                _sample(raised, low, low_at, b, row + 1, x0 - 1, n + 2)
            if row < y0:
                continue
            top = row % WINDOW
            _convolve(query, 0, raised, query_filters, row, x0, n, height, width)
            dots(logits, start, query, keys, n, top)
            softmax(logits, biases, n, top)
            mix(mixed, logits, values, n, top)
            if gate.shape[0] > 0:
                _compare(out, hidden, gate, mixed, logits, raised, b, row, x0, n)
            else:
                _add_low(out, mixed, raised, b, row, x0, n)


@_jit
def blend(out, trust, low, low_at, tiles, raised):
    """Interpolate from the upsampled features towards `out` by `trust` (B, H, W), in place."""
    _, height, width, depth = out.shape
    groups, _, length, _ = raised.shape
    for b, y0, y1, x0, x1 in tiles:
        for y in range(y0, y1):
            _sample(raised, low, low_at, b, y, x0, x1 - x0)
            for i in range(x1 - x0):
                weight = trust[b, y, x0 + i]
                place = ((b * height + y) * width + x0 + i) * depth
                for group in range(groups):
                    start = load(raised, ((group * SIDE + y % SIDE) * length + i) * LANES)
                    end = load(out, place + group * LANES)
                    start = multiply_add(splat(F32(1) - weight), start, splat(F32(0)))
                    store(out, place + group * LANES, multiply_add(splat(weight), end, start))
