"""The attention of CReFF in bfloat16 by the tile unit: 16 queries against 32 keys of a row of the window at a time.

Of a product's 32 keys each query uses the 7 of its window. A row of keys is kept as pairs of channels, pixel by pixel,
a row of values as pairs of pixels, channel by channel: the two forms of the right-hand side of a product.
"""
# Numba infers the types of these functions from their first call.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, call-arg, var-annotated"

from __future__ import annotations

import numba

from src.ops.cpu import amx
from src.ops.cpu.amx import BLOCK, PAIRS
from src.ops.cpu.simd import LANES, SHORT, WINDOW, load_short, softmax_taps

KEYS = 2 * BLOCK  # of a product

_jit = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})


@_jit
def pack_keys(keys, slot, line, n):
    """A row of n pixels (groups, 1, pixels, LANES) into keys (slots, C / 2, pixels)."""
    _, depth, length = keys.shape
    for channel in range(0, depth, PAIRS):
        group, lane = channel // (LANES // 2), channel % (LANES // 2) * 2
        for i in range(0, n, BLOCK):
            place = (slot * depth + channel) * length + i
            amx.store_transposed(keys, place, length, line, (group * line.shape[2] + i) * LANES + lane, LANES)


@_jit
def pack_values(values, slot, line, n):
    """A row of n pixels into values (slots, pixels / 2, C)."""
    _, pairs, depth = values.shape
    for i in range(0, n, 2):
        for c in range(0, depth, SHORT):
            at = (c // LANES * line.shape[2] + i) * LANES + c % LANES
            place = (slot * pairs + i // 2) * depth + c
            amx.store_mixed(values, place, load_short(line, at), load_short(line, at + LANES))


@_jit
def pack_query(query, line, n):
    """A row of n pixels into query (pixels, C / 2)."""
    depth = query.shape[1]
    for i in range(n):
        for channel in range(0, depth, PAIRS):
            group, lane = channel // (LANES // 2), channel % (LANES // 2) * 2
            at = (group * line.shape[2] + i) * LANES + lane
            amx.store_pairs(query, i * depth + channel, load_short(line, at), load_short(line, at + SHORT))


@_jit
def _dots(out, query, first, keys, top):
    """out[first / 16, r, i, j] = <query[first + i], key number first + j of row r of the window>."""
    _, depth, length = keys.shape
    for r in range(WINDOW):
        row, target = (top + r) % WINDOW * depth, (first // BLOCK * WINDOW + r) * BLOCK * KEYS
        if r % 2 == 0:  # other tiles than those of the row before, which is still being computed
            amx.zero_0()
            amx.zero_1()
            for channel in range(0, depth, PAIRS):
                place = (row + channel) * length + first
                amx.load_a(query, first * depth + channel, depth)
                amx.load_b(keys, place, length)
                amx.multiply_0()
                amx.load_next_b(keys, place + BLOCK, length)
                amx.next_multiply_1()
            amx.store_0(out, target, KEYS)
            amx.store_1(out, target + BLOCK, KEYS)
        else:
            amx.zero_2()
            amx.zero_3()
            for channel in range(0, depth, PAIRS):
                place = (row + channel) * length + first
                amx.load_a(query, first * depth + channel, depth)
                amx.load_b(keys, place, length)
                amx.multiply_2()
                amx.load_next_b(keys, place + BLOCK, length)
                amx.next_multiply_3()
            amx.store_2(out, target, KEYS)
            amx.store_3(out, target + BLOCK, KEYS)


@_jit
def _mix(out, slot, bands, values, first, top):
    """out[:, slot, first + i] = sum over rows r and keys j of bands[first / 16, r, i, j] * value number first + j."""
    _, slots, width, _ = out.shape
    _, pairs, depth = values.shape
    for group in range(out.shape[0]):
        amx.zero_0()
        amx.zero_1()
        amx.zero_2()
        amx.zero_3()
        for r in range(WINDOW):
            place = ((top + r) % WINDOW * pairs + first // 2) * depth + group * LANES
            amx.load_a(bands, (first // BLOCK * WINDOW + r) * BLOCK * KEYS, KEYS)
            amx.load_b(values, place, depth)
            amx.multiply_0()
            amx.load_next_b(values, place + SHORT, depth)
            amx.next_multiply_1()
            amx.load_b(values, place + 2 * SHORT, depth)
            amx.multiply_2()
            amx.load_next_b(values, place + 3 * SHORT, depth)
            amx.next_multiply_3()
        place = ((group * slots + slot) * width + first) * LANES
        amx.store_0(out, place, LANES)
        amx.store_1(out, place + SHORT, LANES)
        amx.store_2(out, place + 2 * SHORT, LANES)
        amx.store_3(out, place + 3 * SHORT, LANES)


@_jit
def attend(out, slot, known, query, keys, values, bias, start, n, top, logits, bands, layout):
    """Attention of n pixels of a row into out[:, slot]; `bands` is zero outside the windows.

    Each step is done for the whole row: what tiles write is slow to read in the next moment, and the reverse.
    """
    step = bias.shape[1]
    rows = (
        top % WINDOW * step,
        (top + 1) % WINDOW * step,
        (top + 2) % WINDOW * step,
        (top + 3) % WINDOW * step,
        (top + 4) % WINDOW * step,
        (top + 5) % WINDOW * step,
        (top + 6) % WINDOW * step,
    )
    size = BLOCK * KEYS
    amx.tile_begin(layout)
    for first in range(0, n, BLOCK):
        _dots(logits, query, first, keys, top)
    for i in range(0, n, 2):
        at, step = i // BLOCK * WINDOW * size + i % BLOCK * (KEYS + 1), KEYS + 1
        softmax_taps(known, i, bands, at, step, size, logits, at, step, size, start, bias, rows)
    for first in range(0, n, BLOCK):
        _mix(out, slot, bands, values, first, top)
    amx.tile_end()
