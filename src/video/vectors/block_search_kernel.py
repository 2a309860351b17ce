"""The loops behind `src.video.vectors.block_search`: enhanced predictive zonal search (EPZS).

The same search as FFmpeg's filter `mestimate=method=epzs` does, and vector by vector the same result, but to the frame
before only (the filter also looks to the frame after) and with eight pixels at a time.
"""
# Numba infers the types of these functions from their first call; llvmlite has no types.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="misc,no-untyped-def,no-untyped-call,untyped-decorator,call-arg,assignment,var-annotated"

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic

BLOCK = 8  # pixels; with 16 the warped keyframe is 12-21 % worse
MOST = 11  # candidates per block


@njit(cache=True, nogil=True, error_model="numpy")
def search(current, before, tables, reach, rows):
    """Find for each block of `current` the place in `before` with the least sum of absolute differences.

    Candidates are the vectors of the neighbours found so far, their median, and those of the same place and its
    neighbours one frame ago; from the best of them a small diamond descends.

    Args:
        current, before: (H, W) uint8 luma, contiguous.
        tables: (3, down, across, 2) int32 vectors (x, y) of this frame and of the two before; the first is written.
        reach: of the vectors, pixels.
        rows: (down * across, 6) float32, written: [x0, y0, w, h, dx, dy]; the last blocks reach to the border.
    """
    height, width = current.shape
    down, across = height // BLOCK, width // BLOCK
    here, there = current.reshape(-1), before.reshape(-1)
    now, last, older = tables[0], tables[1], tables[2]
    candidates = np.empty((MOST, 2), np.int32)
    for j in range(down):
        for i in range(across):
            x0, y0 = i * BLOCK, j * BLOCK
            count = _candidates(now, last, older, i, j, candidates)
            least_x, most_x = max(-x0, -reach), min((across - 1) * BLOCK - x0, reach)
            least_y, most_y = max(-y0, -reach), min((down - 1) * BLOCK - y0, reach)
            start, best, x, y = y0 * width + x0, np.int64(1 << 30), 0, 0
            for n in range(count):
                dx, dy = np.int64(candidates[n, 0]), np.int64(candidates[n, 1])
                if least_x <= dx <= most_x and least_y <= dy <= most_y:
                    cost = _difference(here, start, there, start + dy * width + dx, width)
                    if cost < best:
                        best, x, y = cost, dx, dy
            moved = True
            while moved:
                moved, from_x, from_y = False, x, y
                for step in range(4):
                    dx, dy = from_x + (step == 2) - (step == 0), from_y + (step == 3) - (step == 1)
                    if least_x <= dx <= most_x and least_y <= dy <= most_y:
                        cost = _difference(here, start, there, start + dy * width + dx, width)
                        if cost < best:
                            best, x, y, moved = cost, dx, dy, True
            now[j, i, 0], now[j, i, 1] = x, y
            row = rows[j * across + i]
            row[0], row[1], row[4], row[5] = x0, y0, x, y
            row[2] = BLOCK if i + 1 < across else width - x0
            row[3] = BLOCK if j + 1 < down else height - y0


@njit(cache=True, nogil=True, error_model="numpy")
def _candidates(now, last, older, i, j, found):
    """Write the candidates of block (i, j), in the order that decides ties; return their number."""
    down, across = now.shape[:2]
    found[1] = 0
    count = 2
    if i > 0:
        found[count] = now[j, i - 1]
        count += 1
    if j > 0:
        found[count] = now[j - 1, i]
        count += 1
    if j > 0 and i + 1 < across:
        found[count] = now[j - 1, i + 1]
        count += 1
    for axis in range(2):
        if count == 5:
            found[0, axis] = _median(found[2, axis], found[3, axis], found[4, axis])
        elif count == 4:
            found[0, axis] = _median(np.int32(0), found[2, axis], found[3, axis])
        else:
            found[0, axis] = found[count - 1, axis]  # the only one, or zero
    found[count] = last[j, i]
    for axis in range(2):
        found[count + 1, axis] = 2 * last[j, i, axis] - older[j, i, axis]
    count += 2
    if i > 0:
        found[count] = last[j, i - 1]
        count += 1
    if j > 0:
        found[count] = last[j - 1, i]
        count += 1
    if i + 1 < across:
        found[count] = last[j, i + 1]
        count += 1
    if j + 1 < down:
        found[count] = last[j + 1, i]
        count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _median(a, b, c):
    return max(min(a, b), min(max(a, b), c))


@intrinsic
def _difference(typing, here, start, there, other, width):
    """Sum of absolute differences of two blocks in flat images, whose first pixels are at `start` and `other`."""

    def generate(context, builder, signature, arguments):
        here, start, there, other, width = arguments
        total = None
        for row in range(0, BLOCK, 2):
            pairs = []
            for array_type, array, at in ((signature.args[0], here, start), (signature.args[2], there, other)):
                data = context.make_array(array_type)(context, builder, array).data
                halves = []
                for line in (row, row + 1):
                    offset = builder.add(at, builder.mul(width, ir.Constant(width.type, line)))
                    vector = ir.VectorType(data.type.pointee, BLOCK)
                    address = builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())
                    halves.append(builder.load(address, align=1))
                both = ir.Constant(ir.VectorType(ir.IntType(32), 2 * BLOCK), list(range(2 * BLOCK)))
                pairs.append(builder.shuffle_vector(*halves, both))
            one, two = pairs
            apart = builder.select(builder.icmp_unsigned(">", one, two), builder.sub(one, two), builder.sub(two, one))
            wide = builder.zext(apart, ir.VectorType(ir.IntType(16), 2 * BLOCK))
            total = wide if total is None else builder.add(total, wide)
        lanes = 2 * BLOCK
        while lanes > 1:  # at most 64 * 255, which 16 bits hold
            lanes //= 2
            index = ir.VectorType(ir.IntType(32), lanes)
            low = builder.shuffle_vector(total, total, ir.Constant(index, list(range(lanes))))
            high = builder.shuffle_vector(total, total, ir.Constant(index, list(range(lanes, 2 * lanes))))
            total = builder.add(low, high)
        first = builder.extract_element(total, ir.Constant(ir.IntType(32), 0))
        return builder.zext(first, ir.IntType(64))

    return types.int64(here, types.intp, there, types.intp, types.intp), generate
