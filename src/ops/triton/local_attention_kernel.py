"""Triton kernels of local attention: a tile of pixels against the positions that their windows reach.

A program has 8 x 8 pixels and goes through the positions around them two rows at a time, with the softmax carried
along. Products of all pairs are one matrix product on tensor cores; of its columns a pixel keeps its window, by a
table (pixels, positions) that holds the position term within the window and -inf beyond it. It is the same for all
tiles. Tiles beside each other share their borders in the cache, so that each map is read about once from memory.

The gradient of keys and values runs over tiles of keys and gathers from the queries around them: no atomics, so
results do not depend on the order in which programs run.
"""

from __future__ import annotations

import triton
import triton.language as tl

TILE = 8  # pixels of a tile along each axis
ROWS = 2  # of positions at a time
SIDE = tl.constexpr(TILE)
PIXELS = tl.constexpr(TILE * TILE)
STEP = tl.constexpr(ROWS)
TAPS = tl.constexpr(16)  # side of the sums for the position's gradient: an operand of a matrix product has 16


@triton.jit
def forward(
    out_ptr,
    query_ptr,
    key_ptr,
    value_ptr,
    residual_ptr,
    valid_ptr,
    table_ptr,
    scale,
    height,
    width,
    stride_c,
    stride_y,
    stride_x,
    CHANNELS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    HAS_VALID: tl.constexpr,
    ZERO_PADDING: tl.constexpr,
    RADIUS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    OUT: tl.constexpr,
):
    """Write the attention output of a tile for `OUT` channels."""
    image, part = _image_and_part(CHANNELS, OUT)
    at, inside = _pixels(height, width, stride_y, stride_x)
    start = image * CHANNELS * height * width
    channel, known = _channels(start, part * OUT, stride_c, CHANNELS, OUT)
    q = _first_block(query_ptr, start, at, inside, stride_c, CHANNELS, BLOCK)
    highest = tl.full((PIXELS,), -float("inf"), tl.float32)
    total = tl.zeros((PIXELS,), tl.float32)
    result = tl.zeros((PIXELS, OUT), tl.float32)
    for row in range(0, SIDE + 2 * RADIUS, STEP):
        plane, at_around, inside_around = _around(row, height, width, stride_y, stride_x, RADIUS, WIDTH)
        logits = _products(
            q, query_ptr, at, inside, key_ptr, at_around, inside_around, start, stride_c, CHANNELS, BLOCK
        )
        usable = _usable(valid_ptr, image * height * width + plane, inside_around, HAS_VALID, ZERO_PADDING)
        logits = _masked(logits * scale, table_ptr, row, usable[None, :], RADIUS, WIDTH)
        weights, highest, before, total = _carry(logits, highest, total)
        v = _load(value_ptr, channel, at_around, known, inside_around)
        result = _dot_wide(weights, v, result * before[:, None])
    result *= (1 / tl.where(total == 0, 1.0, total))[:, None]  # without any tap, all weights are 0
    if HAS_RESIDUAL:
        result += _load(residual_ptr, channel, at, known, inside).to(tl.float32)
    _store(out_ptr, result, channel, at, known, inside)


@triton.jit
def backward_query(
    d_query_ptr,
    lse_ptr,
    delta_ptr,
    d_position_ptr,
    gradient_ptr,
    query_ptr,
    key_ptr,
    value_ptr,
    valid_ptr,
    table_ptr,
    scale,
    height,
    width,
    stride_c,
    stride_y,
    stride_x,
    CHANNELS: tl.constexpr,
    HAS_VALID: tl.constexpr,
    HAS_POSITION: tl.constexpr,
    ZERO_PADDING: tl.constexpr,
    RADIUS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    OUT: tl.constexpr,
):
    """Write a tile's gradient of the query and part of the position's, and per pixel what `backward_key` needs."""
    image, part = _image_and_part(CHANNELS, OUT)
    at, inside = _pixels(height, width, stride_y, stride_x)
    start = image * CHANNELS * height * width
    channel, known = _channels(start, part * OUT, stride_c, CHANNELS, OUT)
    q = _first_block(query_ptr, start, at, inside, stride_c, CHANNELS, BLOCK)
    g = _first_block(gradient_ptr, start, at, inside, stride_c, CHANNELS, BLOCK)
    highest = tl.full((PIXELS,), -float("inf"), tl.float32)
    total = tl.zeros((PIXELS,), tl.float32)
    delta = tl.zeros((PIXELS,), tl.float32)  # sum of weights and slopes
    for row in range(0, SIDE + 2 * RADIUS, STEP):
        plane, at_around, inside_around = _around(row, height, width, stride_y, stride_x, RADIUS, WIDTH)
        logits = _products(
            q, query_ptr, at, inside, key_ptr, at_around, inside_around, start, stride_c, CHANNELS, BLOCK
        )
        slopes = _products(
            g, gradient_ptr, at, inside, value_ptr, at_around, inside_around, start, stride_c, CHANNELS, BLOCK
        )
        usable = _usable(valid_ptr, image * height * width + plane, inside_around, HAS_VALID, ZERO_PADDING)
        logits = _masked(logits * scale, table_ptr, row, usable[None, :], RADIUS, WIDTH)
        weights, highest, before, total = _carry(logits, highest, total)
        delta = delta * before + tl.sum(weights * slopes, 1)
    some = tl.where(total == 0, 1.0, total)
    delta /= some
    lse = tl.where(total == 0, float("inf"), highest + tl.log(some))  # inf: all weights are 0
    at_pixel, _ = _pixels(height, width, width, 1)
    tl.store(lse_ptr + image * height * width + at_pixel, lse, mask=inside)
    tl.store(delta_ptr + image * height * width + at_pixel, delta, mask=inside)
    result = tl.zeros((PIXELS, OUT), tl.float32)
    sums = tl.zeros((TAPS, TAPS), tl.float32)
    for row in range(0, SIDE + 2 * RADIUS, STEP):
        plane, at_around, inside_around = _around(row, height, width, stride_y, stride_x, RADIUS, WIDTH)
        logits = _products(
            q, query_ptr, at, inside, key_ptr, at_around, inside_around, start, stride_c, CHANNELS, BLOCK
        )
        slopes = _products(
            g, gradient_ptr, at, inside, value_ptr, at_around, inside_around, start, stride_c, CHANNELS, BLOCK
        )
        usable = _usable(valid_ptr, image * height * width + plane, inside_around, HAS_VALID, ZERO_PADDING)
        logits = _masked(logits * scale, table_ptr, row, usable[None, :], RADIUS, WIDTH)
        slopes = tl.exp(logits - lse[:, None]) * (slopes - delta[:, None])
        k = _load(key_ptr, channel, at_around, known, inside_around)
        result = _dot_wide(slopes, k, result)
        if HAS_POSITION:
            sums = _add_by_tap(sums, slopes, row, WIDTH)
    _store(d_query_ptr, scale * result, channel, at, known, inside)
    if HAS_POSITION:
        tile = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
        number = image * tl.num_programs(0) * tl.num_programs(1) + tile
        tap = tl.arange(0, TAPS)
        tl.store(d_position_ptr + number * TAPS * TAPS + tap[:, None] * TAPS + tap[None, :], sums)


@triton.jit
def backward_key(
    d_key_ptr,
    d_value_ptr,
    gradient_ptr,
    query_ptr,
    key_ptr,
    value_ptr,
    lse_ptr,
    delta_ptr,
    valid_ptr,
    table_ptr,
    scale,
    height,
    width,
    stride_c,
    stride_y,
    stride_x,
    CHANNELS: tl.constexpr,
    HAS_VALID: tl.constexpr,
    RADIUS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    OUT: tl.constexpr,
):
    """Write the gradients of a tile's keys and values, from the queries around them; the table is of the keys' view."""
    image, part = _image_and_part(CHANNELS, OUT)
    at, inside = _pixels(height, width, stride_y, stride_x)
    start = image * CHANNELS * height * width
    channel, known = _channels(start, part * OUT, stride_c, CHANNELS, OUT)
    usable = inside
    if HAS_VALID:
        at_pixel, _ = _pixels(height, width, width, 1)
        usable &= tl.load(valid_ptr + image * height * width + at_pixel, mask=inside, other=0) != 0
    k = _first_block(key_ptr, start, at, inside, stride_c, CHANNELS, BLOCK)
    v = _first_block(value_ptr, start, at, inside, stride_c, CHANNELS, BLOCK)
    d_key = tl.zeros((PIXELS, OUT), tl.float32)
    d_value = tl.zeros((PIXELS, OUT), tl.float32)
    for row in range(0, SIDE + 2 * RADIUS, STEP):
        plane, at_around, inside_around = _around(row, height, width, stride_y, stride_x, RADIUS, WIDTH)
        logits = _products(
            k, key_ptr, at, inside, query_ptr, at_around, inside_around, start, stride_c, CHANNELS, BLOCK
        )
        slopes = _products(
            v, value_ptr, at, inside, gradient_ptr, at_around, inside_around, start, stride_c, CHANNELS, BLOCK
        )
        logits = _masked(logits * scale, table_ptr, row, usable[:, None], RADIUS, WIDTH)
        beside = image * height * width + plane
        lse = tl.load(lse_ptr + beside, mask=inside_around, other=float("inf"))
        delta = tl.load(delta_ptr + beside, mask=inside_around, other=0.0)
        weights = tl.exp(logits - lse[None, :])
        g = _load(gradient_ptr, channel, at_around, known, inside_around)
        d_value = _dot_wide(weights, g, d_value)
        q = _load(query_ptr, channel, at_around, known, inside_around)
        d_key = _dot_wide(weights * (slopes - delta[None, :]), q, d_key)
    _store(d_value_ptr, d_value, channel, at, known, inside)
    _store(d_key_ptr, scale * d_key, channel, at, known, inside)


@triton.jit
def _image_and_part(CHANNELS: tl.constexpr, OUT: tl.constexpr):
    """Image of the program, and which part of the channels it writes."""
    parts: tl.constexpr = (CHANNELS + OUT - 1) // OUT
    return (tl.program_id(2) // parts).to(tl.int64), tl.program_id(2) % parts


@triton.jit
def _pixels(height, width, stride_y, stride_x):
    """Offsets of the program's pixels, and whether they are on the map."""
    pixel = tl.arange(0, PIXELS)
    y = tl.program_id(1) * SIDE + pixel // SIDE
    x = tl.program_id(0) * SIDE + pixel % SIDE
    return y * stride_y + x * stride_x, (y < height) & (x < width)


@triton.jit
def _around(row, height, width, stride_y, stride_x, RADIUS: tl.constexpr, WIDTH: tl.constexpr):
    """Offsets in a plane and in a map of the positions from a row on, and whether they are on the map."""
    position = tl.arange(0, STEP * WIDTH)
    y = tl.program_id(1) * SIDE - RADIUS + row + position // WIDTH
    x = tl.program_id(0) * SIDE - RADIUS + position % WIDTH
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return y * width + x, y * stride_y + x * stride_x, inside


@triton.jit
def _channels(start, first, stride_c, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Offsets of a block of channels, and which of them exist."""
    channel = first + tl.arange(0, BLOCK)
    return start + channel.to(tl.int64) * stride_c, channel < CHANNELS


@triton.jit
def _first_block(ptr, start, at, inside, stride_c, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Values (pixels, channels) of the first block of channels; where it is the only one, it is loaded only once."""
    channel, known = _channels(start, 0, stride_c, CHANNELS, BLOCK)
    return _load(ptr, channel, at, known, inside)


@triton.jit
def _products(
    first, ptr, at, inside, other_ptr, at_around, inside_around, start, stride_c,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Products (pixels, positions) of two maps over all channels; `first` is the first block of the pixels' map."""
    channel, known = _channels(start, 0, stride_c, CHANNELS, BLOCK)
    around = _load(other_ptr, channel, at_around, known, inside_around)
    total = tl.dot(first, tl.trans(around), input_precision="tf32x3")
    for c in range(BLOCK, CHANNELS, BLOCK):
        channel, known = _channels(start, c, stride_c, CHANNELS, BLOCK)
        here = _load(ptr, channel, at, known, inside)
        around = _load(other_ptr, channel, at_around, known, inside_around)
        total = tl.dot(here, tl.trans(around), total, input_precision="tf32x3")
    return total


@triton.jit
def _usable(valid_ptr, at_around, inside_around, HAS_VALID: tl.constexpr, ZERO_PADDING: tl.constexpr):
    """Whether the positions take part as keys."""
    usable = inside_around
    if HAS_VALID:
        usable = tl.load(valid_ptr + at_around, mask=inside_around, other=0) != 0
    if ZERO_PADDING:
        usable |= inside_around == 0
    return usable


@triton.jit
def _masked(logits, table_ptr, row, usable, RADIUS: tl.constexpr, WIDTH: tl.constexpr):
    """Logits with the table's terms; -inf where there is no tap."""
    position = row * WIDTH + tl.arange(0, STEP * WIDTH)
    positions: tl.constexpr = ((SIDE + 2 * RADIUS + STEP - 1) // STEP) * STEP * WIDTH
    terms = tl.load(table_ptr + tl.arange(0, PIXELS)[:, None] * positions + position[None, :])
    return tl.where(usable, logits + terms, -float("inf"))


@triton.jit
def _carry(logits, highest, total):
    """One step of a softmax: weights relative to the new maximum, that maximum, the old weights' factor, their sum."""
    now = tl.maximum(highest, tl.max(logits, 1))
    finite = tl.where(now == -float("inf"), 0.0, now)
    weights = tl.exp(logits - finite[:, None])
    before = tl.exp(highest - finite)
    return weights, now, before, total * before + tl.sum(weights, 1)


@triton.jit
def _load(ptr, channel, at, known, inside):
    """Values (positions, channels) of a map; 0 beyond it."""
    return tl.load(ptr + channel[None, :] + at[:, None], mask=inside[:, None] & known[None, :], other=0.0)


@triton.jit
def _store(ptr, values, channel, at, known, inside):
    mask = inside[:, None] & known[None, :]
    tl.store(ptr + channel[None, :] + at[:, None], values.to(ptr.dtype.element_ty), mask=mask)


@triton.jit
def _dot_wide(a, b, total):
    """Product of float32 weights and a map; the weights are not rounded to the map's type."""
    if b.dtype == tl.bfloat16:
        high = a.to(tl.bfloat16)
        total = tl.dot(high, b, total)
        total = tl.dot((a - high.to(tl.float32)).to(tl.bfloat16), b, total)
    else:
        total = tl.dot(a, b.to(tl.float32), total, input_precision="tf32x3")
    return total


@triton.jit
def _add_by_tap(sums, slopes, row, WIDTH: tl.constexpr):
    """Add slopes (pixels, positions) to the sums (down, right) of the taps that they belong to, by one-hot products."""
    grid = tl.reshape(slopes, (SIDE, SIDE, STEP, WIDTH))  # pixel's row and column, position's row and column
    pairs = tl.reshape(tl.permute(grid, (0, 2, 1, 3)), (SIDE * STEP, SIDE * WIDTH))
    tap = tl.arange(0, TAPS)
    columns = tl.arange(0, SIDE * WIDTH)
    right = (columns % WIDTH - columns // WIDTH)[:, None] == tap[None, :]
    by_column = tl.dot(pairs, right.to(tl.float32), input_precision="tf32x3")
    rows = tl.arange(0, SIDE * STEP)
    down = (row + rows % STEP - rows // STEP)[None, :] == tap[:, None]
    return tl.dot(down.to(tl.float32), by_column, sums, input_precision="tf32x3")
