"""Vectors of 64 or of 16 floats as values inside Numba kernels.

LLVM vectorises a plain loop over channels only after checking, at run time and before every pixel, that no two
arrays overlap, and sums the lanes of every product separately: half of the time of a 7 x 7 window. Written with
these vectors nothing is left to check, and the sums of a row of the window are gathered together.
"""
# Numba infers the types of these functions from their first call; llvmlite has no types.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, call-arg, var-annotated, untyped-decorator"

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

LANES = 64
SHORT = 16  # the widest register; narrower machines split it
WINDOW = 7
_FLAGS = ("contract", "nsz")


class Vector(types.Type):
    """The Numba type of `size` floats."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"Vector({size})")


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _vector(fe_type.size))


def _vector(size):
    return ir.VectorType(ir.FloatType(), size)


def _address(context, builder, array_type, array, offset, size):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), _vector(size).as_pointer())


def _shuffle(builder, a, b, order):
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), list(order))
    return builder.shuffle_vector(a, b, mask)


def _loader(size):
    @intrinsic
    def load(typing, array, offset):
        def generate(context, builder, signature, arguments):
            return builder.load(_address(context, builder, signature.args[0], *arguments, size), align=4)

        return Vector(size)(array, types.intp), generate

    return load


def _splatter(size):
    @intrinsic
    def splat(typing, scalar):
        def generate(context, builder, signature, arguments):
            unset, zero = ir.Constant(_vector(size), ir.Undefined), ir.Constant(ir.IntType(32), 0)
            first = builder.insert_element(unset, arguments[0], zero)
            return _shuffle(builder, first, first, [0] * size)

        return Vector(size)(types.float32), generate

    return splat


# load(array, offset): the floats from that position of a contiguous array; splat(scalar): equal floats
load, load_short = _loader(LANES), _loader(SHORT)
splat, splat_short = _splatter(LANES), _splatter(SHORT)


@intrinsic
def store(typing, array, offset, vector):
    """Write a vector to position `offset` of a contiguous array."""

    def generate(context, builder, signature, arguments):
        *place, value = arguments
        builder.store(value, _address(context, builder, signature.args[0], *place, vector.size), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def multiply_add(typing, a, b, c):
    """a * b + c."""

    def generate(context, builder, signature, arguments):
        a, b, c = arguments
        return builder.fadd(builder.fmul(a, b, flags=_FLAGS), c, flags=_FLAGS)

    return a(a, b, c), generate


@intrinsic
def add(typing, a, b):
    """a + b."""

    def generate(context, builder, signature, arguments):
        return builder.fadd(*arguments, flags=_FLAGS)

    return a(a, b), generate


@intrinsic
def distance(typing, a, b):
    """|a - b|."""

    def generate(context, builder, signature, arguments):
        difference = builder.fsub(*arguments, flags=_FLAGS)
        kind = ir.FunctionType(_vector(a.size), [_vector(a.size)])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fabs.v{a.size}f32")
        return builder.call(function, [difference])

    return a(a, b), generate


def _adder_of_dots(count):
    @intrinsic
    def add_dots(typing, out, place, start, start_place, vector, array, offset):
        def generate(context, builder, signature, arguments):
            out, place, start, start_place, vector, array, offset = arguments
            out_type, _, start_type, _, _, array_type, _ = signature.args
            parts = _parts(builder, vector)
            sums = [ir.Constant(_vector(SHORT), [0.0] * SHORT)] * 8
            for tap in range(count):
                at = builder.add(offset, context.get_constant(types.intp, tap * LANES))
                taps = _parts(builder, builder.load(_address(context, builder, array_type, array, at, LANES), align=4))
                sums[tap] = builder.fmul(parts[0], taps[0], flags=_FLAGS)
                for a, b in zip(parts[1:], taps[1:], strict=True):
                    sums[tap] = builder.fadd(builder.fmul(a, b, flags=_FLAGS), sums[tap], flags=_FLAGS)
            before = builder.load(_address(context, builder, start_type, start, start_place, 8), align=4)
            after = builder.fadd(before, _gather_sums(builder, sums), flags=_FLAGS)
            builder.store(after, _address(context, builder, out_type, out, place, 8), align=4)
            return context.get_dummy_value()

        arguments = (out, types.intp, start, types.intp, vector, array, types.intp)
        return types.void(*arguments), generate

    return add_dots


# add_N_dots(out, place, start, start_place, vector, array, offset):
# out[place + j] = start[start_place + j] + <vector, array[offset + 64 j :]> for j = 0 .. 7, the products j >= N zero
add_seven_dots = _adder_of_dots(7)
add_eight_dots = _adder_of_dots(8)


def _parts(builder, vector):
    return [_shuffle(builder, vector, vector, range(i, i + SHORT)) for i in range(0, LANES, SHORT)]


def _gather_sums(builder, vectors):
    """The sums of eight vectors as one vector of eight: halves of two are added until one is left."""
    width = SHORT
    while len(vectors) > 1:
        half = width // 2
        starts = range(0, 2 * SHORT, width)
        low = [s + i for s in starts for i in range(half)]
        high = [s + half + i for s in starts for i in range(half)]
        vectors = [
            builder.fadd(_shuffle(builder, a, b, low), _shuffle(builder, a, b, high), flags=_FLAGS)
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        width = half
    (last,) = vectors
    even, odd = (_shuffle(builder, last, last, range(i, SHORT, 2)) for i in (0, 1))
    return builder.fadd(even, odd, flags=_FLAGS)
