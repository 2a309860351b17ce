"""CPU kernels of bilinear resampling; rows of pixels are flat, (B, H, W * C)."""
# Numba infers the types of these functions from their first call.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="call-arg, misc, no-untyped-def, no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from src.ops.cpu.simd import SHORT, load_one, load_short, multiply_add, splat_short, store

_jit = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})


@_jit
def _across(out, row, channels, first, weights):
    """A row of the result from a row of the source: per pixel, the weighted sum of its taps.

    Both have `SHORT` floats of room at the end: each vector reaches into what the next one overwrites.
    """
    for x in range(len(first)):
        for c in range(0, channels, SHORT):
            source = first[x] * channels + c
            total = splat_short(np.float32(0))
            for tap in range(weights.shape[1]):
                total = multiply_add(splat_short(weights[x, tap]), load_short(row, source + tap * channels), total)
            store(out, x * channels + c, total)


@_jit
def _copy(out, row):
    """Floats in the precision of `out`."""
    whole = len(out) - len(out) % SHORT
    for i in range(0, whole, SHORT):
        store(out, i, load_short(row, i))
    for i in range(whole, len(out)):
        store(out, i, load_one(row, i))


@_jit
def _mixed(out, upper, lower, u, v):
    for i in range(len(out)):
        out[i] = u * upper[i] + v * lower[i]


@_jit
def upsample(out, x, channels, first_y, weights_y, first_x, weights_x, strips):
    """Widen source rows as they are first needed, two at a time, and mix them."""
    width = out.shape[2]
    wide = np.zeros((2, width + SHORT), np.float32)
    source = np.zeros(x.shape[2] + 2 * SHORT, np.float32)
    target = np.empty(width, np.float32)
    for batch, y0, y1 in strips:
        held = np.full(2, -1)
        for y in range(y0, y1):
            for row in range(first_y[y], first_y[y] + 2):
                if held[row % 2] != row:
                    held[row % 2] = row
                    source[: x.shape[2]] = x[batch, row]
                    _across(wide[row % 2], source, channels, first_x, weights_x)
            upper, lower = wide[first_y[y] % 2, :width], wide[(first_y[y] + 1) % 2, :width]
            _mixed(target, upper, lower, weights_y[y, 0], weights_y[y, 1])
            _copy(out[batch, y], target)


@_jit
def labels(out, x, first_y, weights_y, first_x, weights_x, strips):
    """Class of the highest logit, the lowest one in ties; logits x (B, h, w, K) are enlarged class by class."""
    classes, width = x.shape[3], out.shape[2]
    wide = np.empty((2, classes, width), np.float32)
    source = np.empty(x.shape[2], np.float32)
    target, highest = np.empty(width, np.float32), np.empty(width, np.float32)
    before, after = weights_x[:, 0].copy(), weights_x[:, 1].copy()
    for batch, y0, y1 in strips:
        held = np.full(2, -1)
        for y in range(y0, y1):
            for row in range(first_y[y], first_y[y] + 2):
                if held[row % 2] == row:
                    continue
                held[row % 2] = row
                for k in range(classes):
                    source[:] = x[batch, row, :, k]
                    line = wide[row % 2, k]
                    for i in range(width):  # in the order of `_across`, so that both round equally
                        line[i] = after[i] * source[first_x[i] + 1] + before[i] * source[first_x[i]]
            found = out[batch, y]
            found[:] = 0
            for k in range(classes):
                _mixed(target, wide[first_y[y] % 2, k], wide[(first_y[y] + 1) % 2, k], weights_y[y, 0], weights_y[y, 1])
                if k == 0:
                    highest[:] = target
                for i in range(width):
                    higher = target[i] > highest[i]
                    highest[i] = target[i] if higher else highest[i]
                    found[i] = np.uint8(k) if higher else found[i]


@_jit
def downsample(out, x, channels, first_y, weights_y, first_x, weights_x, strips):
    """Mix source rows, then narrow the mixture."""
    width = x.shape[2]
    mixed = np.zeros(width + 2 * SHORT, np.float32)
    narrow = np.zeros(out.shape[2] + SHORT, np.float32)
    for batch, y0, y1 in strips:
        for y in range(y0, y1):
            mixed[:width] = np.float32(0)
            for tap in range(weights_y.shape[1]):
                row, weight = x[batch, first_y[y] + tap], weights_y[y, tap]
                for i in range(width):
                    mixed[i] += weight * row[i]
            _across(narrow, mixed, channels, first_x, weights_x)
            _copy(out[batch, y], narrow[: out.shape[2]])


@_jit
def average_pool(out, known, motion, valid, top, bottom, left, right, strips):
    """Mean over the valid pixels of each cell, and whether they are at least half of it."""
    sums = np.empty((3, motion.shape[3]), np.float32)
    for batch, y0, y1 in strips:
        for y in range(y0, y1):
            sums[:] = np.float32(0)
            for row in range(top[y], bottom[y]):
                horizontal, vertical, counted = motion[batch, 0, row], motion[batch, 1, row], valid[batch, row]
                for i in range(len(counted)):
                    weight = np.float32(counted[i])
                    sums[0, i] += horizontal[i] * weight
                    sums[1, i] += vertical[i] * weight
                    sums[2, i] += weight
            for x in range(out.shape[3]):
                first, second, count = np.float32(0), np.float32(0), np.float32(0)
                for i in range(left[x], right[x]):
                    first += sums[0, i]
                    second += sums[1, i]
                    count += sums[2, i]
                share = np.float32(1) / max(count, np.float32(1))
                out[batch, 0, y, x], out[batch, 1, y, x] = first * share, second * share
                known[batch, y, x] = 2 * count >= (bottom[y] - top[y]) * (right[x] - left[x])
