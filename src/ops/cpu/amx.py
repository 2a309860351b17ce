"""Products of small bfloat16 matrices by the tile unit of recent x86 CPUs (AMX), inside Numba kernels.

A tile is 16 rows of 64 bytes. A product adds A B to C, with A 16 x 32 and B 32 x 16 in bfloat16, and C 16 x 16 in
float32. B lies as 16 rows of pairs: row p holds rows 2 p and 2 p + 1 of the matrix, column by column. Memory of
bfloat16 is written as pairs in uint32. These functions must not be compiled where `has_tiles` is false.
"""
# Numba infers the types of these functions from their first call; llvmlite has no types.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, call-arg, var-annotated, untyped-decorator"

from __future__ import annotations

import ctypes
import functools
import platform
import sys

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from src.ops.cpu.simd import SHORT

BLOCK = 16  # rows of a tile
PAIRS = 16  # pairs of bfloat16 in a row
SYSCALL_ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA = 158, 0x1023, 18  # of Linux on x86-64
FEATURES = {"+amx-tile", "+amx-bf16", "+avx512bf16"}
_BYTE = ir.IntType(8)
_LONG = ir.IntType(64)


@functools.cache
def has_tiles() -> bool:
    """Whether the CPU has the unit and the system lets this process use it, which it must ask for once."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    _, _, features = cpu_target.target_context.codegen().magic_tuple()  # that Numba compiles for, settings included
    if not set(features.split(",")) >= FEATURES:
        return False
    return int(ctypes.CDLL(None).syscall(SYSCALL_ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA)) == 0


def configuration() -> NDArray[np.uint8]:
    """The layout of eight whole tiles, as `tile_begin` reads it."""
    layout = np.zeros(64, np.uint8)
    layout[0] = 1
    layout[16:32:2] = 64  # bytes of a row
    layout[48:56] = BLOCK
    return layout


class _BFloat(ir.Type):
    """LLVM's bfloat16, which llvmlite does not know."""

    def _to_string(self) -> str:
        return "bfloat"


def _call(builder, name, *arguments: ir.Value):
    kind = ir.FunctionType(ir.VoidType(), [x.type for x in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), arguments)


def _pointer(context, builder, array_type, array, offset=None):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(data if offset is None else builder.gep(data, [offset]), _BYTE.as_pointer())


def _tile(number):
    return ir.Constant(_BYTE, number)


@intrinsic
def tile_begin(typing, layout):
    """Set up the tiles of this thread; `tile_end` must follow."""

    def generate(context, builder, signature, arguments):
        _call(builder, "ldtilecfg", _pointer(context, builder, signature.args[0], arguments[0]))
        return context.get_dummy_value()

    return types.void(layout), generate


@intrinsic
def tile_end(typing):
    """Release the tiles of this thread."""

    def generate(context, builder, signature, arguments):
        _call(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), generate


def _mover(number, name):
    @intrinsic
    def move(typing, array, offset, stride):
        def generate(context, builder, signature, arguments):
            array, offset, stride = arguments
            size = ir.Constant(_LONG, signature.args[0].dtype.bitwidth // 8)
            address = _pointer(context, builder, signature.args[0], array, offset)
            _call(builder, name, _tile(number), address, builder.mul(stride, size))
            return context.get_dummy_value()

        return types.void(array, types.intp, types.intp), generate

    return move


def _eraser(number):
    @intrinsic
    def erase(typing):
        def generate(context, builder, signature, arguments):
            _call(builder, "tilezero", _tile(number))
            return context.get_dummy_value()

        return types.void(), generate

    return erase


def _multiplier(c, a, b):
    @intrinsic
    def multiply(typing):
        def generate(context, builder, signature, arguments):
            _call(builder, "tdpbf16ps", _tile(c), _tile(a), _tile(b))
            return context.get_dummy_value()

        return types.void(), generate

    return multiply


# tiles 0 to 3 are C, 4 is A, 5 and 6 are B; load and store (array, offset, stride) in elements of the array
zero_0, zero_1, zero_2, zero_3 = (_eraser(c) for c in range(4))
load_a, load_b, load_next_b = (_mover(t, "tileloadd64") for t in (4, 5, 6))
store_0, store_1, store_2, store_3 = (_mover(c, "tilestored64") for c in range(4))
multiply_0, multiply_1, multiply_2, multiply_3 = (_multiplier(c, 4, 5) for c in range(4))
next_multiply_1, next_multiply_3 = (_multiplier(c, 4, 6) for c in (1, 3))


def _halves(builder, a, b):
    """Sixteen floats of each as bfloat16: those of a, then those of b, as integers of 16 bits."""
    kind = ir.FunctionType(ir.VectorType(_BFloat(), 2 * SHORT), [a.type, b.type])
    name = "llvm.x86.avx512bf16.cvtne2ps2bf16.512"  # its first argument becomes the upper half
    halves = builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [b, a])
    return builder.bitcast(halves, ir.VectorType(ir.IntType(16), 2 * SHORT))


def _pairs(builder, halves):
    return builder.bitcast(halves, ir.VectorType(ir.IntType(32), SHORT))


def _shuffle(builder, a, b, order):
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), list(order))
    return builder.shuffle_vector(a, b, mask)


def _store(context, builder, array_type, array, offset, pairs):
    address = _pointer(context, builder, array_type, array, offset)
    builder.store(pairs, builder.bitcast(address, pairs.type.as_pointer()), align=4)


@intrinsic
def store_pairs(typing, array, offset, a, b):
    """Write the 32 numbers of a and then b, a row of A."""

    def generate(context, builder, signature, arguments):
        array, offset, a, b = arguments
        _store(context, builder, signature.args[0], array, offset, _pairs(builder, _halves(builder, a, b)))
        return context.get_dummy_value()

    return types.void(array, types.intp, a, b), generate


@intrinsic
def store_mixed(typing, array, offset, a, b):
    """Write the numbers of a and b in turn, two rows of B."""

    def generate(context, builder, signature, arguments):
        array, offset, a, b = arguments
        order = [i + half for i in range(SHORT) for half in (0, SHORT)]
        halves = _halves(builder, a, b)
        mixed = _shuffle(builder, halves, halves, order)
        _store(context, builder, signature.args[0], array, offset, _pairs(builder, mixed))
        return context.get_dummy_value()

    return types.void(array, types.intp, a, b), generate


@intrinsic
def store_transposed(typing, out, place, stride, array, offset, step):
    """Write B of a matrix whose columns are 16 rows of 32 floats, `step` apart, as rows of pairs, `stride` apart."""

    def generate(context, builder, signature, arguments):
        out, place, stride, array, offset, step = arguments
        kind = ir.VectorType(ir.FloatType(), SHORT)
        rows = []
        for i in range(BLOCK):
            at = builder.add(offset, builder.mul(step, ir.Constant(_LONG, i)))
            parts = []
            for part in (0, SHORT):
                start = builder.add(at, ir.Constant(_LONG, part))
                address = _pointer(context, builder, signature.args[3], array, start)
                parts.append(builder.load(builder.bitcast(address, kind.as_pointer()), align=4))
            rows.append(_pairs(builder, _halves(builder, *parts)))
        width = 1
        while width < BLOCK:  # exchange ever larger squares beside the diagonal
            low = [BLOCK + i - width if i & width else i for i in range(BLOCK)]
            high = [BLOCK + i if i & width else i + width for i in range(BLOCK)]
            exchanged = list(rows)
            for i in range(BLOCK):
                if not i & width:
                    exchanged[i] = _shuffle(builder, rows[i], rows[i + width], low)
                    exchanged[i + width] = _shuffle(builder, rows[i], rows[i + width], high)
            rows, width = exchanged, 2 * width
        for i, row in enumerate(rows):
            at = builder.add(place, builder.mul(stride, ir.Constant(_LONG, i)))
            _store(context, builder, signature.args[0], out, at, row)
        return context.get_dummy_value()

    integer = types.intp
    return types.void(out, integer, integer, array, integer, integer), generate
