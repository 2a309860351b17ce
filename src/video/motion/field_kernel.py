"""The loops over pixels behind `src.video.motion.field`.

Most blocks are 8 or 16 pixels wide: too short for the loops that LLVM vectorises, which work in steps of 32 and check
before each row that no two arrays overlap. Eight pixels at a time are therefore written as vectors.
"""
# Numba infers the types of these functions from their first call; llvmlite has no types.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, untyped-decorator, call-arg"

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic

LANES = 8
UNCOVERED = 2  # in a mask of 0 and 1, while it is filled
UNCOVERED_WORD = np.uint64(0x0202020202020202)
FARTHEST = np.float32(2**20)  # pixels; blocks with a greater number, or none, are treated as intra


@njit(cache=True, nogil=True, error_model="numpy")
def chain_pixels(previous, previous_valid, hop, hop_valid, field, valid):
    """`src.video.motion.field.chain`; the last two arguments are written."""
    height, width = hop_valid.shape
    for y in range(height):
        for x in range(width):
            _sample(previous, previous_valid, x, y, hop[0, y, x], hop[1, y, x], field, valid)
            valid[y, x] = valid[y, x] and hop_valid[y, x]


@njit(cache=True, nogil=True, error_model="numpy")
def joined(blocks):
    """Blocks that follow each other from left to right with the same vector as one: long rows are filled faster."""
    rows, count, end = np.empty_like(blocks), 0, np.float32(np.nan)
    for n in range(blocks.shape[0]):
        follows = blocks[n, 0] == end
        for column in (1, 3, 4, 5):
            follows = follows and blocks[n, column] == blocks[n - 1, column]
        if follows:
            rows[count - 1, 2] += blocks[n, 2]
        else:
            rows[count] = blocks[n]
            count += 1
        end = blocks[n, 0] + blocks[n, 2]
    return rows[:count]


@njit(cache=True, nogil=True, error_model="numpy")
def extend_blocks(previous, previous_valid, blocks, field, valid):
    """`src.video.motion.field.extend` where blocks are; masks are (H, W) uint8, the last two arguments are written."""
    height, width = previous_valid.shape
    flat, flat_valid = previous.reshape(-1), previous_valid.reshape(-1)
    out, out_valid = field.reshape(-1), valid.reshape(-1)
    plane = height * width
    for n in range(blocks.shape[0]):
        if not _is_usable(blocks[n]):
            continue
        x0, y0 = max(int(blocks[n, 0]), 0), max(int(blocks[n, 1]), 0)
        x1 = min(int(blocks[n, 0] + blocks[n, 2]), width)
        y1 = min(int(blocks[n, 1] + blocks[n, 3]), height)
        dx, dy = blocks[n, 4], blocks[n, 5]
        step_x, step_y = int(np.floor(dx)), int(np.floor(dy))
        right, below = np.float32(dx - step_x), np.float32(dy - step_y)
        beside, under = int(right > 0), int(below > 0)
        # Columns [inner0, inner1) have all their samples inside the frame; elsewhere borders need care.
        inner0 = min(max(x0, -step_x), x1)
        inner1 = max(min(x1, width - beside - step_x), inner0)
        for y in range(y0, y1):
            if inner1 - inner0 < LANES or y + step_y < 0 or y + step_y + under >= height:
                for x in range(x0, x1):
                    _sample(previous, previous_valid, x, y, dx, dy, field, valid)
                continue
            for x in range(x0, inner0):
                _sample(previous, previous_valid, x, y, dx, dy, field, valid)
            for x in range(inner1, x1):
                _sample(previous, previous_valid, x, y, dx, dy, field, valid)
            for x in range(inner0, inner1, LANES):
                x = min(x, inner1 - LANES)  # the last vector overlaps the one before it
                here, there = y * width + x, (y + step_y) * width + x + step_x
                _blend(flat, there, beside, under * width, right, below, dx, out, here)
                _blend(flat, plane + there, beside, under * width, right, below, dy, out, plane + here)
                _all_of_four(flat_valid, there, beside, under * width, out_valid, here)


@njit(cache=True, nogil=True, error_model="numpy")
def _is_usable(block):
    """Whether all of its numbers are finite and fit an index: others, from damaged files, would lead out of memory."""
    usable = True
    for value in block:
        usable = usable and abs(value) < FARTHEST
    return usable


@njit(cache=True, nogil=True, error_model="numpy")
def keep_uncovered(previous, field, valid):
    """Uncovered pixels keep their place and are invalid; the last two arguments are written."""
    flat, out, marks = previous.reshape(-1), field.reshape(-1), valid.reshape(-1)
    plane = len(marks)
    words = marks[: plane // 8 * 8].view(np.uint64)  # mostly nothing is uncovered: eight pixels are asked at once
    for word in range(len(words) + 1):
        if word < len(words) and not words[word] & UNCOVERED_WORD:
            continue
        for n in range(8 * word, min(8 * word + 8, plane)):
            if marks[n] == UNCOVERED:
                out[n], out[plane + n] = flat[n], flat[plane + n]
                marks[n] = 0


@njit(cache=True, nogil=True, error_model="numpy")
def _sample(previous, previous_valid, x, y, hop_x, hop_y, field, valid):
    """Set field and validity of one pixel; the general case, with borders."""
    height, width = previous_valid.shape
    source_x, source_y = x + hop_x, y + hop_y
    inside = 0 <= source_x <= width - 1 and 0 <= source_y <= height - 1
    # NaN becomes 0: it is not greater, and as an index it would lead out of memory
    clamped_x = min(source_x, np.float32(width - 1)) if source_x > 0 else np.float32(0)
    clamped_y = min(source_y, np.float32(height - 1)) if source_y > 0 else np.float32(0)
    x0, y0 = int(clamped_x), int(clamped_y)
    right, below = np.float32(clamped_x - x0), np.float32(clamped_y - y0)
    x1, y1 = x0 + (right > 0), y0 + (below > 0)
    left, above = np.float32(1) - right, np.float32(1) - below
    for c in range(2):
        top = left * previous[c, y0, x0] + right * previous[c, y0, x1]
        bottom = left * previous[c, y1, x0] + right * previous[c, y1, x1]
        field[c, y, x] = (hop_x if c == 0 else hop_y) + above * top + below * bottom
    valid[y, x] = (
        inside
        and previous_valid[y0, x0]
        and previous_valid[y0, x1]
        and previous_valid[y1, x0]
        and previous_valid[y1, x1]
    )


@intrinsic
def _blend(typing, flat, there, beside, under, right, below, hop, out, here):
    """out[here + i] = hop + the bilinear mean of flat[there + i], its neighbour `beside`, and both of them `under`."""

    def generate(context, builder, signature, arguments):
        flat, there, beside, under, right, below, hop, out, here = arguments
        right, below, hop = (_splat(builder, scalar) for scalar in (right, below, hop))
        corners = _corners(context, builder, signature.args[0], flat, there, beside, under)
        one = ir.Constant(right.type, [1.0] * LANES)
        left, above = builder.fsub(one, right), builder.fsub(one, below)

        def mean(a, weight_a, b, weight_b):
            return builder.fadd(builder.fmul(weight_a, a), builder.fmul(weight_b, b))

        top, bottom = mean(corners[0], left, corners[1], right), mean(corners[2], left, corners[3], right)
        value = builder.fadd(hop, mean(top, above, bottom, below))
        builder.store(value, _address(context, builder, signature.args[7], out, here), align=1)
        return context.get_dummy_value()

    weights = (types.float32,) * 3
    return types.void(flat, types.intp, types.intp, types.intp, *weights, out, types.intp), generate


@intrinsic
def _all_of_four(typing, flat, there, beside, under, out, here):
    """out[here + i] = whether all of the four that `_blend` means are valid."""

    def generate(context, builder, signature, arguments):
        flat, there, beside, under, out, here = arguments
        a, b, c, d = _corners(context, builder, signature.args[0], flat, there, beside, under)
        value = builder.and_(builder.and_(a, b), builder.and_(c, d))
        builder.store(value, _address(context, builder, signature.args[4], out, here), align=1)
        return context.get_dummy_value()

    return types.void(flat, types.intp, types.intp, types.intp, out, types.intp), generate


def _corners(context, builder, array_type, flat, there, beside, under):
    offsets = (there, builder.add(there, beside))
    offsets += tuple(builder.add(offset, under) for offset in offsets)
    return [builder.load(_address(context, builder, array_type, flat, offset), align=1) for offset in offsets]


def _address(context, builder, array_type, array, offset):
    data = context.make_array(array_type)(context, builder, array).data
    vector = ir.VectorType(data.type.pointee, LANES)
    return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())


def _splat(builder, scalar):
    index = ir.IntType(32)
    first = builder.insert_element(ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined), scalar, index(0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(index, LANES), [0] * LANES))
